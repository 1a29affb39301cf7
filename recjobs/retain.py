"""What is kept: a few runs attached, older ones archived, still older ones dropped.

Retention follows a publish and can't fail it: whatever goes wrong becomes a warning, and the next
night tries again. A run's row says where its lists count (`run.lists_in`); a table that is anywhere
else is swept away without a lock that a reader would wait for. So a run may be killed at any point,
and no row is ever without its lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recjobs import companions, db, partitions, pointer
from recjobs.errors import RecJobsError
from recjobs.pointer import Job
from recjobs.sweep import sweep


def retain(job: Job, *, attached: int, archive_days: int) -> list[str]:
    """Archive, drop and sweep; return what went wrong, one sentence each.

    Args:
        job: Whose lists.
        attached: How many of the runs that were live last stay one pointer away.
        archive_days: Older lists in the archive are dropped, counted from when the run was last
            live, or else from when it ended.
    """
    warnings: list[str] = []
    with _warning(warnings, "looking for tables that no run needs"):
        sweep(job)  # what an interrupted night left would be in the way of this one's
    with _warning(warnings, "archiving older runs"):
        for run_id in _chosen(job, "retain/to_archive", attached=attached):
            with _warning(warnings, f"archiving run {run_id}"):
                with db.connect(job.dsn) as connection:  # not locked: it takes as long as a publish
                    partitions.copy(connection, job.schema, run_id, "top_n_list", "top_n_archive")
                pointer.locked(job, _archiving(job, run_id, attached))
    with _warning(warnings, "dropping the oldest runs"):
        for run_id in _chosen(job, "retain/to_drop", days=archive_days):
            with _warning(warnings, f"dropping run {run_id}"):
                pointer.locked(job, _dropping(job, run_id))
    with _warning(warnings, "forgetting runs that were never published"):
        _forget_unpublished(job, archive_days)
    with _warning(warnings, "looking for tables that no run needs"):
        warnings += sweep(job)
    return warnings


def _archiving(job: Job, run_id: int, attached: int) -> Callable[[db.PgConnection], None]:
    def archive(connection: db.PgConnection) -> None:
        # Asked again under the lock: it may have gone live since, or the copy may be swept away.
        chosen = pointer.rows(connection, "retain/to_archive", job.schema, attached=attached)
        if (run_id,) in chosen and partitions.copied(connection, job.schema, run_id):
            partitions.attach(connection, job.schema, run_id, "top_n_archive")
            pointer.record(connection, job.schema, run_id, "top_n_archive")

    return archive


def _dropping(job: Job, run_id: int) -> Callable[[db.PgConnection], None]:
    def drop(connection: db.PgConnection) -> None:
        if pointer.lists_in(connection, job.schema, run_id) == "top_n_archive":
            companions.forget(connection, job.schema, run_id)
            pointer.record(connection, job.schema, run_id, "dropped")

    return drop


def _forget_unpublished(job: Job, days: int) -> None:
    with db.connect(job.dsn) as connection:
        for table in companions.TABLES:
            names = {"schema": job.schema, "table": (job.schema, table)}
            statement = db.query("retain/forget_unpublished", **names)
            db.execute(connection, statement, {"days": days})


def _chosen(job: Job, name: str, **values: Any) -> list[int]:
    with db.connect(job.dsn) as connection:
        return [int(row[0]) for row in pointer.rows(connection, name, job.schema, **values)]


@contextmanager
def _warning(warnings: list[str], doing: str) -> Iterator[None]:
    try:
        yield
    except RecJobsError as error:
        warnings.append(f"{doing}: {error}")
