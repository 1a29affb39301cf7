"""The settings of one job: one TOML file, one frozen section per stage.

Unknown keys are refused with the nearest known one. Any value can be overridden by an environment
variable, ``RECJOBS__<SECTION>__<KEY>`` (``RECJOBS__GATE__MIN_USERS=50``); secrets come from the
environment alone.
"""

from __future__ import annotations

from recjobs.config.connection import Connection
from recjobs.config.learning import FeedbackSettings, HoldoutSettings, PlainValue, seen_days
from recjobs.config.limits import ExpectationSettings, GateSettings
from recjobs.config.lists import RerankSettings
from recjobs.config.load import load_settings, parse_value, toml_value
from recjobs.config.operation import ScheduleSettings
from recjobs.config.section import Level, Section
from recjobs.config.settings import Settings
from recjobs.config.source import (
    FeatureColumns,
    ItemSource,
    SourceSettings,
    UserSource,
    read_sql_file,
)

__all__ = [
    "Connection",
    "ExpectationSettings",
    "FeatureColumns",
    "FeedbackSettings",
    "GateSettings",
    "HoldoutSettings",
    "ItemSource",
    "Level",
    "PlainValue",
    "RerankSettings",
    "ScheduleSettings",
    "Section",
    "Settings",
    "SourceSettings",
    "UserSource",
    "load_settings",
    "parse_value",
    "read_sql_file",
    "seen_days",
    "toml_value",
]
