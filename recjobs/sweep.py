"""Removes tables of lists that no run counts on, without a lock that a reader would wait for.

A run's row says where its lists count (`run.lists_in`). A partition of it under the other parent,
one whose detach was interrupted, and a table that a killed process left outside are strays.
"""

from __future__ import annotations

from typing import Any

from recjobs import db
from recjobs.errors import RecJobsError
from recjobs.pointer import Job


def sweep(job: Job) -> list[str]:
    """Detach and drop tables that no run counts on; return what went wrong, one sentence each."""
    warnings: list[str] = []
    with db.connect(job.dsn, autocommit=True) as connection:
        db.execute(connection, db.query("retain/lock_timeout"), {"limit": job.lock_timeout_ms})
        strays = _strays(connection, job)
    for table, parent, detaching in strays:
        try:
            _remove(job, table, parent, detaching)
        except RecJobsError as error:
            warnings.append(f"removing table {job.schema}.{table}: {error}")
    return warnings


def _strays(connection: db.PgConnection, job: Job) -> list[tuple[Any, ...]]:
    query = db.query("partitions/stray", schema=job.schema)
    return db.execute(connection, query, {"schema": job.schema})


def _remove(job: Job, table: str, parent: str | None, detaching: bool) -> None:
    names = {"table": (job.schema, table)}
    # Not in a transaction: only so can a partition be detached without readers waiting.
    with db.connect(job.dsn, autocommit=True) as connection:
        db.execute(connection, db.query("retain/lock_timeout"), {"limit": job.lock_timeout_ms})
        if (table, parent, detaching) not in _strays(connection, job):
            return  # since it was listed, somebody has made its run live again
        if parent is not None:
            how = "partitions/finalize" if detaching else "partitions/detach"
            db.execute(connection, db.query(how, parent=(job.schema, parent), **names))
        db.execute(connection, db.query("partitions/drop", **names))
