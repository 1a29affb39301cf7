"""The row that points readers at a run, and the rules of when it may move.

Lists and pointer are moved under one transaction-level advisory lock per job (`locked`), which
works through a transaction pooler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeVar

import psycopg2.errors
from psycopg2 import sql

from recjobs import db
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.errors import ConfigError, DatabaseError, LeaseHeldError
from recjobs.run_rows import unknown

Kind = Literal["publish", "promote", "rollback"]
T = TypeVar("T")

#: How often a lock that is not to be had in time is asked for again.
ATTEMPTS: Final = 5
#: Least and longest pause between attaching a run and pointing at it. The least is for replicas,
#: whose readers are not seen here; the longest is for those who keep a transaction open for hours.
SETTLE_SECONDS: Final = (0.1, 60.0)
#: The longest pause of a rollback, whose lists are mostly known to every reader: bad ones are live.
URGENT_SECONDS: Final = 2.0
_PASSING: Final = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
)


@dataclass(frozen=True, slots=True)
class Job:
    """Whose lists are moved.

    Attributes:
        dsn: The target database.
        schema: The job's schema.
        lock_timeout_ms: How long one attempt waits for a lock.
    """

    dsn: str
    schema: str
    lock_timeout_ms: int = 2000

    @classmethod
    def of(cls, settings: Settings) -> Job:
        """Return the job with these settings."""
        dsn, lock_timeout_ms = settings.target.resolve(), settings.publish.lock_timeout_ms
        return cls(dsn, settings.job.db_schema, lock_timeout_ms)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the pointer and the history of publications say, seen from one run.

    Attributes:
        live_run_id: The live run, None before the first publish.
        pinned: Whether no run may go live.
        pinned_by: Who pinned it.
        pinned_why: Why.
        highest_as_of: The greatest as_of that was ever live.
        highest_rolled_back: Whether a rollback ended the last publication of that as_of.
        rolled_back: Whether a rollback ended the last publication of this run.
        ever_live: Whether this run has been live.
        at: The time, by the database's clock.
    """

    live_run_id: int | None
    pinned: bool
    pinned_by: str | None
    pinned_why: str | None
    highest_as_of: datetime | None
    highest_rolled_back: bool
    rolled_back: bool
    ever_live: bool
    at: datetime


def locked(job: Job, work: Callable[[db.PgConnection], T]) -> T:
    """Run work in one transaction that holds the lock on the job's lists and pointer.

    A lock that is not to be had in time is asked for again, a few times: work may run repeatedly.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            return _once(job, work)
        except DatabaseError as error:
            if not isinstance(error.__cause__, _PASSING):
                raise
            time.sleep(0.2 * attempt)
    return _once(job, work)


def settle(job: Job, longest: float | None = None) -> list[str]:
    """Wait until the readers that may not know of a partition attached just now have ended.

    A query that was planned before the attach and takes its snapshot after the pointer moved would
    look for the new run among the old partitions, and find an empty list. So would a prepared
    statement for as long as its transaction is open, which hears of no attach under the locks that
    it has. No lock is held here: nobody waits but the run.

    Args:
        job: Whose lists they are.
        longest: Seconds; default: the longest of `SETTLE_SECONDS`.

    Returns:
        A warning of those that have not ended in time, else nothing.
    """
    least, at_most = SETTLE_SECONDS
    at_most = at_most if longest is None else longest
    deadline = time.monotonic() + at_most
    with db.connect(job.dsn, autocommit=True) as connection:
        lists = sql.Identifier(job.schema, "top_n_list").as_string(connection)

        def readers() -> set[tuple[Any, ...]]:
            return set(db.execute(connection, db.query("live/readers"), {"parent": lists}))

        before = readers()
        time.sleep(least)
        while before and time.monotonic() < deadline:
            before &= readers()
            time.sleep(0.01)
    if not before:
        return []
    pids = ", ".join(sorted(str(pid) for _, pid in before))
    return [
        f"the pointer was moved after {at_most:g} s though transactions were open that had read "
        f"the lists before (process {pids}): until they end, statements prepared in them may find "
        "no list"
    ]


def standing(connection: db.PgConnection, schema: str, run_id: int | None) -> Standing:
    """Return what the pointer and the publications say, seen from a run."""
    return Standing(*rows(connection, "live/standing", schema, run_id=run_id)[0])


def why_not_live(connection: db.PgConnection, schema: str, run_id: int) -> str | None:
    """Return why the run may not go live by itself, None where it may."""
    now = standing(connection, schema, run_id)
    as_of, overrides, _, decision, source, superseded_by = _run(connection, schema, run_id)
    if overrides:
        return f"it ran with settings given by hand ({', '.join(overrides)}): it needs `promote`"
    if now.pinned:
        return f"run {now.live_run_id} is pinned by {now.pinned_by}"
    if now.rolled_back:
        return "it was rolled back: it needs `promote`"
    if now.highest_as_of is not None and as_of < now.highest_as_of:
        newest = f"{now.highest_as_of:%Y-%m-%d %H:%M %Z}"
        return f"a run as of {newest} has been live: it needs `promote`"
    if superseded_by is not None:
        return f"run {superseded_by}, which superseded it, has been live: it needs `promote`"
    if source == POPULAR and now.live_run_id not in (None, run_id):
        return "the gate held its model, and by now a run is live that popularity must not replace"
    if as_of == now.highest_as_of and now.highest_rolled_back:
        return "a run of the same as_of was rolled back: it needs `promote`"
    if decision == "promoted":
        failed = failed_checks(connection, schema, run_id)
        return failed or "a person decides on it, not the gate: it needs `promote`"
    return None


def failed_checks(connection: db.PgConnection, schema: str, run_id: int) -> str | None:
    """Return what forbids that a person makes the run live, None where nothing does."""
    failed = rows(connection, "live/failed_checks", schema, run_id=run_id)
    return "; ".join(f"{name}: {message}" for name, message in failed) or None


def point(
    connection: db.PgConnection, schema: str, run_id: int, kind: Kind, *, by: str, why: str
) -> None:
    """Point readers at a run, and write down since when, by whom and why."""
    at = standing(connection, schema, run_id).at
    rows(connection, "live/close", schema, at=at, rolled_back=kind == "rollback")
    values = {"run_id": run_id, "kind": kind, "at": at, "decided_by": by, "why": why}
    rows(connection, "live/publication", schema, **values)
    rows(connection, "live/point", schema, run_id=run_id, at=at)


def pin(
    connection: db.PgConnection, schema: str, *, pinned: bool, by: str | None, why: str | None
) -> None:
    """Pin or unpin the live run.

    Raises:
        ConfigError: Nothing is live.
    """
    values = {"pinned": pinned, "pinned_by": by, "pinned_why": why}
    if not rows(connection, "live/pin", schema, **values):
        raise ConfigError("nothing is live, so nothing can be pinned or unpinned")


def lists_in(connection: db.PgConnection, schema: str, run_id: int) -> str | None:
    """Return where a run's lists are: a relation, ``"dropped"``, or None for never published."""
    place: str | None = _run(connection, schema, run_id)[2]
    return place


def record(
    connection: db.PgConnection, schema: str, run_id: int, place: str | None, n: int | None = None
) -> None:
    """Record where a run's lists are (None: nowhere) and, where given, how long one is."""
    rows(connection, "live/stored", schema, run_id=run_id, lists_in=place, n=n)


def require_lease(connection: db.PgConnection, schema: str, run_id: int) -> None:
    """Refuse to go on without the job's lease; with it, keep it until the transaction ends.

    Raises:
        LeaseHeldError: The run does not hold it.
    """
    if not rows(connection, "lease/verify", schema, run_id=run_id):
        raise LeaseHeldError(
            f"run {run_id} does not hold the job's lease any more: nothing goes live. Run it again."
        )


def rows(
    connection: db.PgConnection, name: str, schema: str, **values: Any
) -> list[tuple[Any, ...]]:
    """Run one of the job's statements and return its rows."""
    return db.execute(connection, db.query(name, schema=schema), values)


def _once(job: Job, work: Callable[[db.PgConnection], T]) -> T:
    with db.connect(job.dsn) as connection:
        limit = {"milliseconds": str(job.lock_timeout_ms)}
        db.execute(connection, db.query("live/lock_timeout"), limit)
        db.execute(connection, db.query("live/lock"), {"schema": job.schema})
        return work(connection)


def _run(connection: db.PgConnection, schema: str, run_id: int) -> tuple[Any, ...]:
    found = rows(connection, "live/run", schema, run_id=run_id)
    if not found:
        raise unknown(run_id)
    return found[0]
