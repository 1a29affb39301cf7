"""The settings of one job: one TOML file, one frozen section per stage.

Unknown keys are refused with the nearest known one. Any value can be overridden by an environment
variable, ``RECJOBS__<SECTION>__<KEY>`` (``RECJOBS__GATE__MIN_USERS=50``); secrets come from the
environment alone.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from recjobs.errors import ConfigError
from recjobs.instants import zone

Level = Literal["off", "warn", "stop"]
PlainValue = bool | int | float | str | list[int] | list[float] | list[str]
#: A hyperparameter; a model made of models takes theirs by name.
ParamValue = PlainValue | dict[str, dict[str, PlainValue]]

ENV_PREFIX: Final = "RECJOBS__"
#: Sections and keys that do not change the lists: left out of the settings hash.
_NOT_HASHED: Final[dict[str, set[str] | None]] = {
    "schedule": None,
    "artifacts": None,
    "lease": None,
    "target": None,
    "publish": None,
    "source": {"dsn", "dsn_env", "airflow_conn_id"},
    "score": {"block_users"},
}


def _at_most_one(section: Section, *keys: str) -> None:
    given = [key for key in keys if getattr(section, key)]
    if len(given) > 1:
        raise ValueError(f"give only one of {' and '.join(given)}")


def _date_text(value: Any) -> Any:
    """Return a TOML date, which needs no quotes, as the text that the setting holds."""
    return value.isoformat() if isinstance(value, date) else value


#: An ISO 8601 date or time.
DateText = Annotated[str, BeforeValidator(_date_text)]


class Section(BaseModel):
    """A frozen section of the settings that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class JobSettings(Section):
    """Who the job is."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")
    db_schema: str = Field(default="recs", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,40}$")
    timezone: str = "UTC"
    seed: int = Field(default=42, ge=0, lt=2**31)
    training_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone(value)
        return value


class Connection(Section):
    """Where a database is: one of a DSN without a password, a variable, an Airflow connection."""

    dsn: str = ""
    dsn_env: str = Field(default="", pattern=r"^([A-Za-z_][A-Za-z0-9_]*)?$")
    airflow_conn_id: str = Field(default="", pattern=r"^[\w.-]*$")

    @field_validator("dsn")
    @classmethod
    def _no_password(cls, value: str) -> str:
        if value and (urlsplit(value).password or re.search(r"(?i)password\s*=", value)):
            raise ValueError("a DSN in the settings file must hold no password; use dsn_env")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> Connection:
        if sum(map(bool, (self.dsn, self.dsn_env, self.airflow_conn_id))) > 1:
            raise ValueError("give one of dsn, dsn_env and airflow_conn_id")
        return self

    def resolve(self, env: Mapping[str, str] | None = None) -> str:
        """Return the DSN.

        Raises:
            ConfigError: The variable that should hold it is not set.
        """
        env = os.environ if env is None else env
        if self.dsn:
            return self.dsn
        name = f"AIRFLOW_CONN_{self.airflow_conn_id.upper()}" if self.airflow_conn_id else ""
        name = name or self.dsn_env or "RECJOBS_DSN"
        value = env.get(name)
        if not value:
            raise ConfigError(
                f"the database's DSN should be in the environment variable {name}, which is not "
                f"set. Set it (export {name}=postgresql://user@host/db) or name another one with "
                "dsn_env in the settings."
            )
        return _libpq_uri(value)


class FeatureColumns(Section):
    """Columns that say something of an item or a user; for models that learn from it."""

    table: str = ""
    sql_file: str = ""
    text: tuple[str, ...] = ()  #: words: titles, descriptions, a user's search queries
    categories: tuple[str, ...] = ()  #: a text column of several, an array, or one value per row
    separator: str = "|"  #: between several categories in a text column; "" for one per row
    numbers: tuple[str, ...] = ()  #: numbers, booleans, dates or times

    @field_validator("text", "categories", "numbers")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice or "" in value:
            raise ValueError(f"expected distinct names of columns, twice: {twice or ['']}")
        return value

    @model_validator(mode="after")
    def _of_a_table(self) -> FeatureColumns:
        _at_most_one(self, "table", "sql_file")
        for key in ("text", "categories", "numbers"):
            if getattr(self, key) and not (self.table or self.sql_file):
                raise ValueError(f"{key} names columns: give the table (or sql_file) that has them")
        return self


class ItemSource(FeatureColumns):
    """The table of items: titles, availability, creation, what they are."""

    item_id: str = "item_id"
    title: str = ""
    created_at: str = ""
    available: str = ""  #: a boolean column; null counts as available
    available_sql: str = ""  #: or a boolean SQL expression over the item's columns

    @model_validator(mode="after")
    def _consistent(self) -> ItemSource:
        _at_most_one(self, "available", "available_sql")
        return self


class UserSource(FeatureColumns):
    """The table of users: who is eligible for a list, what is known of them."""

    user_id: str = "user_id"
    created_at: str = ""
    active: str = ""  #: a boolean column; null counts as active
    segment: str = ""  #: a column that many share, such as a country: a popular list for each


class SourceSettings(Connection):
    """The table (or SQL file) of interactions and what its columns mean."""

    table: str = ""
    sql_file: str = ""
    user_id: str = "user_id"
    item_id: str = "item_id"
    time: str = "ts"
    time_unit: Literal["", "s", "ms"] = ""  #: for an integer time column: epoch seconds or ms
    source_timezone: str = ""  #: required for `timestamp` columns; of `date` columns, default UTC
    rating: str = ""
    event: str = ""
    #: one night in so many reads everything, the others only what earlier nights do not keep
    full_every: int = Field(default=1, ge=1)
    late_days: int = Field(default=3, ge=1, le=366)  #: the last days, which every night reads anew
    items: ItemSource = ItemSource()
    users: UserSource = UserSource()

    @model_validator(mode="after")
    def _consistent(self) -> SourceSettings:
        _at_most_one(self, "table", "sql_file")
        if not (self.table or self.sql_file):
            raise ValueError("give the interactions as table or sql_file")
        if self.source_timezone:
            zone(self.source_timezone)
        return self


class FeedbackSettings(Section):
    """What an interaction says: ratings, or events with weights."""

    kind: Literal["explicit", "implicit"] = "implicit"
    positive_at: float = 0.0  #: a rating at or above it is a positive (where there are ratings)
    event_weights: dict[str, float] = {}  #: positives are these events; the others are only seen
    half_life_days: float | None = Field(default=None, gt=0)  #: weight halves per so many days
    min_user_interactions: int = Field(default=1, ge=1)  #: fewer: not trained on, gets the fallback
    min_item_interactions: int = Field(default=1, ge=1)  #: fewer: no candidate, never recommended
    #: "all", "none", event names joined by commas, or "<days>d": not recommended again
    exclude_seen: str = "all"

    @field_validator("event_weights")
    @classmethod
    def _positive_weights(cls, value: dict[str, float]) -> dict[str, float]:
        for event, weight in value.items():
            if not weight > 0:
                raise ValueError(
                    f"the weight of event {event!r} must be above 0, received {weight}"
                )
        return value


class HoldoutSettings(Section):
    """The part that the evaluated model never sees."""

    kind: Literal["global_time", "last_per_user"] = "global_time"
    days: float = Field(default=7.0, gt=0)  #: global_time: the last days before as_of
    last: int = Field(default=1, ge=1)  #: last_per_user: so many interactions of each user
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)  #: carved before the holdout


class ExpectationSettings(Section):
    """Limits of the validate stage, and what happens when one does not hold.

    A level is ``warn`` (recorded, the night goes on), ``stop`` (the night ends, exit code 3) or
    ``off``. Bad rows are set aside whatever the level; a level speaks of their share.
    """

    nulls: Level = "warn"
    not_finite: Level = "warn"
    bad_time: Level = "warn"
    duplicates: Level = "warn"
    off_scale: Level = "stop"
    volume: Level = "stop"
    too_few: Level = "stop"
    max_bad_share: float = Field(default=0.05, ge=0, le=1)  #: of rows, per reason
    earliest: DateText = "1970-01-02"  #: an earlier time is absurd
    rating_min: float | None = None
    rating_max: float | None = None
    min_interactions: int = Field(default=100, ge=1)
    min_users: int = Field(default=10, ge=1)
    min_items: int = Field(default=10, ge=1)
    volume_ratio: float = Field(default=2.0, gt=1)  #: against the mean of recent runs, either way
    volume_runs: int = Field(default=7, ge=1)


class ModelSettings(Section):
    """Which model, and its own hyperparameters (each model's page lists them)."""

    name: str = "mf"
    params: dict[str, ParamValue] = {}


class TrainSettings(Section):
    """Where training starts."""

    #: from an earlier night's weights, for models that are trained by epochs; backfills from none
    warm_start: bool = False
    cold_every: int = Field(default=7, ge=1)  #: one night in so many from scratch, to compare


class EvaluateSettings(Section):
    """How the evaluation is done."""

    baselines: tuple[str, ...] = ("popular", "item_knn")
    bootstrap: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    light_user: int = Field(default=20, ge=1)  #: fewer interactions in training: segment "light"
    max_users: int = Field(default=20_000, ge=1)  #: of more, so many are drawn and judged


class GateSettings(Section):
    """When a model may go live."""

    metric: Literal["ndcg@10", "recall@20", "hit_rate@10", "mrr"] = "ndcg@10"
    min_users: int = Field(default=100, ge=1)  #: fewer evaluated users: undecided
    min_lift_over_popular: float = 0.0  #: relative; the mean must reach (1 + it) x popularity's
    max_drop: float = Field(default=0.05, ge=0, lt=1)  #: relative, against the champion


class ScoreSettings(Section):
    """The lists."""

    n: int = Field(default=10, ge=1, le=1000)
    margin: int = Field(default=10, ge=0, le=1000)  #: spares, for items blocked after publishing
    similar: int = Field(default=20, ge=0, le=1000)
    similar_users: int = Field(default=0, ge=0, le=1000)  #: neighbours per user; 0: none
    block_users: int = Field(default=4096, ge=1)


class RerankSettings(Section):
    """More than accuracy: weights against a relevance of 0 to 1; all 0, lists stay as they are."""

    diversity: float = Field(default=0.0, ge=0)  #: against items like those above
    calibration: float = Field(default=0.0, ge=0)  #: for the history's shares of categories
    popularity: float = Field(default=0.0, ge=0)  #: against what is popular anyway
    pool: int = Field(default=100, ge=2, le=1000)  #: the model's best, of which lists are made


class CheckSettings(Section):
    """Limits of the scored lists before they are published."""

    completeness: Level = "stop"
    seen_items: Level = "stop"
    duplicates: Level = "stop"
    candidates: Level = "stop"
    churn: Level = "warn"
    coverage: Level = "warn"
    max_churn: float = Field(default=0.95, ge=0, le=1)  #: share of a list replaced, mean of users
    min_coverage: float = Field(default=0.001, ge=0, le=1)  #: share of candidates recommended


class PublishSettings(Section):
    """What is kept in Postgres, and for whom."""

    attached: int = Field(default=7, ge=1, le=7)  #: runs readable through the partitioned table
    archive_days: int = Field(default=90, ge=0)  #: older archived runs are dropped; 0 keeps none
    lock_timeout_ms: int = Field(default=2000, ge=1)
    writer_role: str = ""  #: default: <schema>_writer
    reader_role: str = ""  #: default: <schema>_reader


class ArtifactSettings(Section):
    """Where the stages leave their files: a local folder or an object store's URL."""

    root: str = ".recjobs/artifacts"
    keep_runs: int = Field(default=14, ge=1)


class LeaseSettings(Section):
    """One run of a job at a time."""

    ttl_seconds: float = Field(default=120.0, gt=0)  #: a silent holder loses the lease after it
    handover_seconds: float = Field(default=900.0, gt=0)  #: between two stages of a run


class ScheduleSettings(Section):
    """What Airflow needs to know."""

    cron: str = "30 2 * * *"
    timezone: str = "UTC"
    start_date: DateText = "2026-01-01"
    catchup: bool = False
    pool: str = "default_pool"
    owner: str = "recjobs"
    queue: str = ""
    retries: int = Field(default=3, ge=0)
    retry_delay_seconds: float = Field(default=60.0, ge=0)
    stage_timeout_minutes: float = Field(default=120.0, gt=0)
    #: shares of the users, scored and loaded by a mapped task each; no list depends on it
    shards: int = Field(default=1, ge=1, le=1024)
    wait_minutes: float = Field(default=360.0, gt=0)  #: for another run's lease

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        zone(value)
        return value

    @field_validator("start_date")
    @classmethod
    def _a_date(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value


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
        for key in ("name", "schema", "seed", "training_threads"):
            del data["job"][key]
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
            _set(data, dotted.split("."), value)
        return _parse(data, "overrides")


def read_sql_file(path: str) -> str:
    """Return the text of a source's SQL file, without a closing semicolon.

    Raises:
        ConfigError: The file can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"source sql_file {path} can't be read: {error}") from error


def load_settings(path: str | Path, env: Mapping[str, str] | None = None) -> Settings:
    """Read a job's TOML file; the environment's ``RECJOBS__…`` variables win over it.

    ``job.name`` defaults to the file's stem; SQL files and a relative local ``artifacts.root`` are
    taken from the TOML file's folder.

    Raises:
        ConfigError: The file is missing, is not TOML, or a setting is unknown or out of range.
    """
    path = Path(path)
    env = os.environ if env is None else env
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no settings file {path}. Make one with: recjobs init --dsn …"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} can't be read as TOML: {error}") from error
    for name, value in env.items():
        if name.startswith(ENV_PREFIX):
            _set(data, name.removeprefix(ENV_PREFIX).lower().split("__"), parse_value(value))
    job = data.setdefault("job", {})
    if isinstance(job, dict):
        job.setdefault("name", re.sub(r"[^a-z0-9_]", "_", path.stem.lower()))
    _anchor(data, path.resolve().parent)
    return _parse(data, str(path))


def _parse(data: dict[str, Any], origin: str) -> Settings:
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(e)}" for e in error.errors())
        raise ConfigError(f"{origin}: the settings don't fit:\n{problems}") from error


def _explain(error: Any) -> str:
    """Return one pydantic error as "section.key: what is wrong", without dumping the settings."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        received = error.get("input")
        # A DSN that is refused may hold a password: it is not repeated.
        hidden = isinstance(received, dict) or error["loc"][-1:] in (("dsn",), ("dsn_env",))
        shown = "" if hidden else f" Received: {received!r}"
        return f"{where or 'settings'}: {error['msg'].removeprefix('Value error, ')}.{shown}"
    *sections, key = (str(part) for part in error["loc"])
    known = _known_keys(sections)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    return f"{where}: there is no such setting; {hint}"


def _known_keys(sections: list[str]) -> list[str]:
    section: type[BaseModel] = Settings
    for name in sections:
        fields = {f.alias or n: f.annotation for n, f in section.model_fields.items()}
        annotation = fields.get(name)
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        section = annotation
    return [f.alias or n for n, f in section.model_fields.items()]


def _set(data: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise ConfigError(f"{'.'.join(keys)}: {key!r} is a value, not a section")
    data[keys[-1]] = value


def parse_value(text: str) -> Any:
    """Return the variable's text as the TOML value it spells; a date, and the rest, as a string."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, date | time) else value


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Take paths from the settings file's folder; what is no section is refused by the model."""
    source, artifacts = data.get("source"), data.setdefault("artifacts", {})
    tables = [source, source.get("items"), source.get("users")] if isinstance(source, dict) else []
    for table in tables:
        if isinstance(table, dict) and table.get("sql_file"):
            table["sql_file"] = str(folder / str(table["sql_file"]))
    if isinstance(artifacts, dict):
        root = str(artifacts.get("root", ArtifactSettings().root))
        if "://" not in root:
            artifacts["root"] = os.path.normpath(folder / root)


def _libpq_uri(value: str) -> str:
    """Return a DSN that libpq takes from Airflow's or SQLAlchemy's spelling of one."""
    return re.sub(r"^(postgres|postgresql)(\+\w+)?://", "postgresql://", value)
