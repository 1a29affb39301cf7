"""All settings of one job, and what of them makes two runs the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, ValidationError, model_validator

from recjobs.config.connection import Connection
from recjobs.config.learning import (
    FeedbackSettings,
    HoldoutSettings,
    ModelSettings,
    TrainSettings,
)
from recjobs.config.limits import (
    CheckSettings,
    EvaluateSettings,
    ExpectationSettings,
    GateSettings,
)
from recjobs.config.lists import RerankSettings, ScoreSettings
from recjobs.config.operation import (
    ArtifactSettings,
    JobSettings,
    LeaseSettings,
    PublishSettings,
    ScheduleSettings,
)
from recjobs.config.refusal import explain
from recjobs.config.section import Section
from recjobs.config.source import SourceSettings, read_sql_file
from recjobs.errors import ConfigError

#: Sections and keys that do not change the lists: left out of the settings hash.
_NOT_HASHED: Final[dict[str, set[str] | None]] = {
    "job": {"name", "schema", "seed", "training_threads"},
    "schedule": None,
    "artifacts": None,
    "lease": None,
    "target": None,
    "publish": None,
    "source": {"dsn", "dsn_env", "airflow_conn_id"},
    "score": {"block_users"},
}


class Settings(Section):
    """All settings of one job."""

    job: JobSettings
    source: SourceSettings
    target: Connection = Connection()
    feedback: FeedbackSettings = FeedbackSettings()
    holdout: HoldoutSettings = HoldoutSettings()
    expectations: ExpectationSettings = Field(default=ExpectationSettings(), alias="validate")
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    gate: GateSettings = GateSettings()
    score: ScoreSettings = ScoreSettings()
    rerank: RerankSettings = RerankSettings()
    check: CheckSettings = CheckSettings()
    publish: PublishSettings = PublishSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    lease: LeaseSettings = LeaseSettings()
    schedule: ScheduleSettings = ScheduleSettings()

    @model_validator(mode="after")
    def _decidable(self) -> Settings:
        if self.evaluate.max_users < self.gate.min_users:
            raise ValueError(
                f"evaluate.max_users is {self.evaluate.max_users} and gate.min_users "
                f"{self.gate.min_users}: with fewer judged than the gate needs no night is decided"
            )
        return self

    @classmethod
    def of(cls, data: Mapping[str, Any], origin: str) -> Settings:
        """Return settings of plain values, by section.

        Raises:
            ConfigError: A key is unknown or a value does not fit; the message names the origin.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            problems = "\n".join(f"  {explain(e, cls)}" for e in error.errors())
            raise ConfigError(f"{origin}: the settings don't fit:\n{problems}") from error

    def hash(self) -> str:
        """Return 16 hex digits that change with every setting that can change a list.

        DSNs, the schedule, block sizes, where artifacts lie and what is kept are left out; so is
        ``training_threads``, which is a part of a run's key of its own, as is the seed.
        """
        data = self.model_dump(mode="json", by_alias=True)
        for section, keys in _NOT_HASHED.items():
            if keys is None:
                del data[section]
            else:
                data[section] = {k: v for k, v in data[section].items() if k not in keys}
        for table in (data["source"], data["source"]["items"], data["source"]["users"]):
            if table["sql_file"]:
                table["sql_file"] = read_sql_file(table["sql_file"])
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def with_overrides(self, overrides: Mapping[str, Any]) -> Settings:
        """Return a copy with values replaced by dotted key, such as ``{"model.name": "ease"}``.

        Raises:
            ConfigError: A key is unknown or a value does not fit.
        """
        data = self.model_dump(mode="python", by_alias=True)
        for dotted, value in overrides.items():
            set_key(data, dotted.split("."), value)
        return Settings.of(data, "overrides")


def set_key(data: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set a value in nested sections.

    Raises:
        ConfigError: A key on the way names a value.
    """
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{'.'.join(keys)}: {key!r} is a value, not a section")
    data[keys[-1]] = value
