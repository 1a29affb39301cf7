"""The runs of a job: rows of the table ``run``, what their stages found, and the job's lease.

Each method is one short transaction on a connection of its own: stages take minutes to hours, and
no session is kept open for that long.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from psycopg2 import sql

from recjobs import db, findings, lease
from recjobs.config import Settings
from recjobs.errors import ConfigError, DatabaseError, LeaseHeldError
from recjobs.expectations import Outcome
from recjobs.run_rows import Run, RunKey, find, in_utc, jsonb, require, run_folder, unknown

__all__ = ["FINISHED", "Run", "RunKey", "RunStore", "run_folder"]

#: A finished run is returned as it is when its key comes again.
FINISHED: Final = ("stored", "held")

_CHANGEABLE: Final = frozenset({
    "status", "stage", "error", "dry_run", "snapshot_digest", "n", "published_source", "decision",
    "rule", "champion_run_id", "reference_run_id", "why_not_live", "host", "artifacts", "counts",
    "timings", "warm_nights", "files_removed_at",
})  # fmt: skip
_ATTEMPTS: Final = 10
#: Nights of a metric's history, at most.
_NIGHTS: Final = 60
#: Folders that one night removes at most.
_PRUNED: Final = 50


class RunStore:
    """The run tables of one job.

    Args:
        dsn: The target database.
        schema: The job's schema.

    Every method raises `DatabaseError` where the server fails, and `ConfigError` where the tables
    were never migrated.
    """

    def __init__(self, dsn: str, schema: str) -> None:
        self._dsn = dsn
        self._schema = schema

    @classmethod
    def of(cls, settings: Settings) -> RunStore:
        """Return the run tables of the job with these settings."""
        return cls(settings.target.resolve(), settings.job.db_schema)

    def open(
        self,
        key: RunKey,
        *,
        job: str,
        model: str,
        overrides: Mapping[str, Any],
        dry_run: bool,
        fresh: bool,
        request: str | None,
        host: str,
        artifacts: str,
        cold_every: int | None = None,
    ) -> Run:
        """Return the run of this key as it stands, or a new one.

        A run that was opened before its as_of has not seen all that came before it: once that
        instant has passed, a new run supersedes it.
        Two processes that open the same key at once get the same run; the database sees to it. An
        unfinished run is changed only by who then takes the lease for it.

        Args:
            key: What makes it the same run.
            job: The job's name.
            model: The model's name.
            overrides: Settings given by hand; with others it is another run.
            dry_run: Whether a new run stops after ``check``.
            fresh: Make a new run that supersedes the newest one of the key and reads the source in
                full.
            request: Names the attempt: the same name gives the same run, fresh or not.
            host: This machine.
            artifacts: Root of the run's files.
            cold_every: A new run gets a parent to start from, of which one in so many is a
                control; None: no parent.

        Raises:
            ConfigError: The schema holds the runs of another job.
        """
        values = {
            **asdict(key),
            "job": job,
            "overrides": jsonb(overrides),
            "model": model,
            "dry_run": dry_run,
            "fresh": fresh,
            "request": request,
            "host": host,
            "artifacts": artifacts,
        }
        same_key = {**asdict(key), "overrides": jsonb(overrides)}
        with db.connect(self._dsn) as connection:
            for (other,) in db.execute(connection, self._query("runs/other_job"), {"job": job}):
                raise ConfigError(
                    f"schema {self._schema} holds the runs of job {other!r}: give job {job!r} a "
                    f"schema of its own (job.schema). If it was renamed, so must the column job of "
                    f"{self._schema}.run be"
                )
            run = self._one(connection, request=request) if request else None
            for _ in range(_ATTEMPTS):
                newest = self._one(connection, **same_key) if run is None else None
                early = newest is not None and newest.started_at < key.as_of <= datetime.now(UTC)
                run = run or (None if fresh or early else newest)
                if run is not None:
                    return run
                supersedes = newest.run_id if newest else None
                lineage = self._lineage(connection, key.as_of, model, cold_every)
                opened = db.execute(
                    connection,
                    self._query("runs/open"),
                    {**values, **lineage, "supersedes": supersedes},
                )
                if opened:
                    return require(connection, self._schema, opened[0][0])
                # Another process opened it between the look and the insert. With a request of
                # another name it meant another attempt, and this one is to supersede it.
                run = self._one(connection, **({"request": request} if request else same_key))
        raise DatabaseError(f"the run of {key.as_of} could not be opened: too many at once")

    def discard(self, run_id: int) -> None:
        """Remove a fresh run that nothing was done in, and that nobody would find again.

        Any other stays: of a request's name or without ``fresh``, the same call returns it.
        """
        self._rows("runs/discard", {"run_id": run_id})

    def get(self, run_id: int) -> Run:
        """Return a run.

        Raises:
            ConfigError: There is none of this id.
        """
        with db.connect(self._dsn) as connection:
            return require(connection, self._schema, run_id)

    def latest(self, limit: int) -> list[Run]:
        """Return the runs opened last, newest first."""
        return self._find(many=limit)

    def live(self) -> Run | None:
        """Return the run that readers see; None before the first publish."""
        return next(iter(self._find(live=True, many=1)), None)

    def anything_live(self) -> bool:
        """Tell whether readers see any run."""
        return self.live() is not None

    def reference(self, as_of: datetime, *, kept: bool = False) -> Run | None:
        """Return the newest run with an earlier as_of that has been live, if there is one.

        Args:
            as_of: Tonight's.
            kept: Leave out those that a rollback took back from readers.
        """
        narrowing = {"before": as_of, "once_live": True, "kept": kept}
        return next(iter(self._find(**narrowing, by_night=True, many=1)), None)

    def metrics(self, run_id: int, model: str) -> dict[str, float]:
        """Return what was measured of a model of a run over all users, where it is defined."""
        return dict(self._rows("runs/metrics", {"run_id": run_id, "model": model}))

    def recent_rows(self, as_of: datetime, limit: int) -> dict[int, int]:
        """Return accepted rows by the newest stored run of each earlier as_of, newest first."""
        return dict(self._rows("runs/recent_rows", {"before": as_of, "many": limit}))

    def prunable(self, run_id: int, keep: int) -> list[tuple[str, int, str]]:
        """Return whose files may go, older than the newest ``keep`` runs: what `RunFolder` takes.

        They are of no use to anybody any more, the run at work among these.
        """
        rows = self._rows("retain/to_prune", {"run_id": run_id, "keep": keep, "many": _PRUNED})
        return [(artifacts, run_id, host) for run_id, artifacts, host in rows]

    def pin(self) -> dict[str, Any] | None:
        """Return run_id, by and why where the live run is pinned; None where it is not."""
        rows = self._rows("runs/pin", {})
        return dict(zip(("run_id", "by", "why"), rows[0], strict=True)) if rows else None

    def publications(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest rows of the table ``publication``, newest first, by column.

        Times are in UTC.
        """
        names = ("run_id", "kind", "live_from", "live_until", "rolled_back", "decided_by", "why")
        rows = self._rows("runs/publications", {"many": limit})
        return [dict(zip(names, in_utc(row), strict=True)) for row in rows]

    def metric_history(self, metric: str, as_of: datetime) -> list[dict[str, Any]]:
        """Return a metric over all users, night by night up to as_of, oldest first.

        Each has run_id, as_of, model, value, low, high and was_live.
        """
        names = ("run_id", "as_of", "model", "value", "low", "high", "was_live")
        values = {"metric": metric, "as_of": as_of, "many": _NIGHTS}
        rows = self._rows("runs/metric_history", values)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def update(self, run_id: int, **columns: Any) -> None:
        """Change columns of a run; ``counts`` and ``timings`` are merged into what is there.

        Raises:
            ConfigError: There is no such run.
        """
        if fixed := set(columns) - _CHANGEABLE:
            raise ValueError(f"columns of a run that may change: {sorted(_CHANGEABLE)}. "
                             f"Received: {sorted(fixed)}")  # fmt: skip
        values = {"run_id": run_id, "changes": jsonb(columns)}
        if not self._rows("runs/update", values):
            raise unknown(run_id)

    def record_outcomes(self, run_id: int, outcomes: Sequence[Outcome]) -> None:
        """Record what expectations found, over what an earlier attempt recorded."""
        with db.connect(self._dsn) as connection:
            findings.record_outcomes(connection, self._schema, run_id, outcomes)

    def record_metrics(self, run_id: int, metrics: Path) -> None:
        """Record ``metrics.parquet`` of `evaluate`; what an earlier attempt recorded goes."""
        with db.connect(self._dsn) as connection:
            findings.record_metrics(connection, self._schema, run_id, metrics)

    def record_rejected(self, run_id: int, rejected: Path) -> None:
        """Record rows set aside, so many per reason; what an earlier attempt recorded goes."""
        with db.connect(self._dsn) as connection:
            findings.record_rejected(connection, self._schema, run_id, rejected)

    def lease(
        self,
        run_id: int,
        holder: str,
        ttl_seconds: float,
        handover_seconds: float = 900.0,
        part: str = "",
    ) -> AbstractContextManager[Callable[[], None]]:
        """Hold the job's lease for a run while a block runs; see `lease.holding`."""
        return lease.holding(
            self._dsn, self._schema, run_id, holder, ttl_seconds, handover_seconds, part
        )

    def try_lease(self, run_id: int, holder: str, seconds: float) -> bool:
        """Take the lease, or keep it, for so many seconds; False where it can't be had."""
        try:
            lease.acquire(self._dsn, self._schema, run_id, holder, seconds, at_work=False)
        except LeaseHeldError:
            return False
        return True

    def abandoned(self, run: Run) -> bool:
        """Tell whether the run began, is unfinished, and nobody holds its lease any more."""
        begun = run.status == "running" and run.stage is not None
        return begun and not lease.holders(self._dsn, self._schema, run.run_id)

    def was_killed(self, run: Run) -> bool:
        """Tell whether a stage of the run began, did not end, and no process is at work on it.

        This may wait some seconds; see `lease.goes_on`.
        """
        begun = run.status == "running" and run.stage is not None and run.stage not in run.timings
        return begun and not lease.goes_on(self._dsn, self._schema, run.run_id)

    def release(self, run_id: int) -> None:
        """Give the lease back, if the run holds it and none of its processes is at work."""
        lease.release(self._dsn, self._schema, run_id)

    def _rows(self, name: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        with db.connect(self._dsn) as connection:
            return db.execute(connection, self._query(name), values)

    def _find(self, **narrowing: Any) -> list[Run]:
        with db.connect(self._dsn) as connection:
            return find(connection, self._schema, **narrowing)

    def _lineage(
        self, connection: db.PgConnection, as_of: datetime, model: str, cold_every: int | None
    ) -> dict[str, int | None]:
        """Return parent_run_id and warm_nights of a new run."""
        values = {"as_of": as_of, "model": model}
        found = db.execute(connection, self._query("runs/parent"), values) if cold_every else []
        parent, before = found[0] if found else (None, 0)
        warm = parent is not None and before + 1 < (cold_every or 1)
        return {"parent_run_id": parent, "warm_nights": before + 1 if warm else 0}

    def _one(self, connection: db.PgConnection, **narrowing: Any) -> Run | None:
        return next(iter(find(connection, self._schema, many=1, **narrowing)), None)

    def _query(self, name: str) -> sql.Composed:
        return db.query(name, schema=self._schema)
