"""A row of the table ``run``, and the one query that finds such rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from recjobs import db
from recjobs.artifacts import RunFolder
from recjobs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RunKey:
    """What makes two runs the same one, besides overrides and the snapshot.

    Attributes:
        as_of: Only interactions before it exist; aware.
        settings_hash: Of every setting that can change a list.
        code_version: Of recjobs.
        seed: Of everything random.
        training_threads: Floating-point sums depend on it.
    """

    as_of: datetime
    settings_hash: str
    code_version: str
    seed: int
    training_threads: int


@dataclass(frozen=True, slots=True)
class Run:
    """One row of the table ``run``, whose comments tell what each column means.

    Attributes:
        ever_live: Whether it has been live at some time.
    """

    run_id: int
    key: RunKey
    status: str
    model: str
    overrides: dict[str, Any]
    dry_run: bool
    request: str | None
    supersedes: int | None
    fresh: bool
    snapshot_digest: str | None
    host: str
    artifacts: str
    decision: str | None
    rule: str | None
    published_source: str | None
    error: str | None
    stage: str | None
    started_at: datetime
    finished_at: datetime | None
    timings: dict[str, float]
    counts: dict[str, Any]
    champion_run_id: int | None
    reference_run_id: int | None
    n: int | None
    lists_in: str | None
    why_not_live: str | None
    parent_run_id: int | None
    warm_nights: int
    files_removed_at: datetime | None
    ever_live: bool


def run_folder(run: Run) -> RunFolder:
    """Return a run's artifacts."""
    return RunFolder(run.artifacts, run.run_id, run.host, run.files_removed_at)


def find(connection: db.PgConnection, schema: str, **narrowing: Any) -> list[Run]:
    """Return runs, newest first, narrowed by the parameters of ``sql/runs/find.sql``."""
    wide = dict.fromkeys(
        ("run_id", "request", "as_of", "settings_hash", "code_version", "seed",
         "training_threads", "overrides", "before", "many")
    )  # fmt: skip
    off = {"once_live": False, "kept": False, "live": False, "by_night": False}
    query = db.query("runs/find", schema=schema)
    return [_run(row) for row in db.execute(connection, query, {**wide, **off, **narrowing})]


def require(connection: db.PgConnection, schema: str, run_id: int) -> Run:
    """Return a run.

    Raises:
        ConfigError: There is none of this id.
    """
    found = find(connection, schema, run_id=run_id)
    if not found:
        raise unknown(run_id)
    return found[0]


def unknown(run_id: int) -> ConfigError:
    """Return the error that says that there is no such run."""
    return ConfigError(f"there is no run {run_id}. See: recjobs status")


def jsonb(value: Mapping[str, Any]) -> str:
    """Return a value as the columns of type jsonb take it."""
    return json.dumps(value, sort_keys=True, default=str)


def in_utc(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a row with its times in UTC: the driver gives them in the session's time zone."""
    return tuple(each.astimezone(UTC) if isinstance(each, datetime) else each for each in row)


def _run(row: tuple[Any, ...]) -> Run:
    run_id, *rest = in_utc(row)
    n_key = len(fields(RunKey))
    return Run(run_id, RunKey(*rest[:n_key]), *rest[n_key:])
