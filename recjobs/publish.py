"""The stage `publish`: scored lists into Postgres, and readers pointed at them.

First everything that no reader sees yet: the lists into a table of their own, which shards may fill
side by side (`load`), and what goes with them. Then the run is attached and the pointer moved
(`live`), then older runs make room (`retain`).
Each step can be repeated: a killed publish ends, run again, as if it had not been killed.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import companions, db, live, partitions, pointer
from recjobs.artifacts import RunFolder
from recjobs.config import Settings
from recjobs.pointer import Job
from recjobs.progress import Progress, silent, within
from recjobs.retain import retain
from recjobs.runs import Run
from recjobs.shards import Shard
from recjobs.sweep import sweep

_LOADED: Final = 0.8  # of the stage's time, about


def publish(
    settings: Settings, run: Run, folder: RunFolder, progress: Progress = silent
) -> dict[str, Any]:
    """Store a run's lists and make it live, if it may go live by itself.

    Args:
        settings: The job's, the run's overrides applied.
        run: The run; it holds the job's lease.
        folder: Its artifacts: of ``extract``, ``index`` and ``score``.
        progress: Told how far it is.

    Returns:
        The stage's summary: run_id, live, why_not_live (None where it is), rows, seconds, and
        warnings of readers that were not waited for and of what retention could not do.

    Raises:
        ConfigError: The ids are of other types than the schema's, or it was never migrated.
        LeaseHeldError: The run lost the job's lease: what was live stays live.
        DatabaseError: The server failed: what was live stays live, a retry goes on.
    """
    started = time.monotonic()
    job = Job.of(settings)
    lists = folder.paths("score", "lists.parquet")
    rows = sum(pq.read_metadata(path).num_rows for path in lists)
    if not _stored(job, run, _digest(folder)):
        with db.connect(job.dsn) as connection:
            # What goes with the lists is written beside them, and committed once they are whole:
            # its session waits for them, however soon the role's sessions are ended for that.
            db.execute(connection, sql.SQL("set local idle_in_transaction_session_timeout = 0"))
            with ThreadPoolExecutor(1) as pool:
                beside = pool.submit(companions.load, connection, job.schema, run.run_id, folder)
                load(settings, run, folder, Shard(1, 1), within(progress, 0, _LOADED))
            beside.result()
            partitions.complete(connection, job.schema, run.run_id, rows)
    progress(_LOADED, "moving the pointer")
    why_not, warnings = live.publish(job, run.run_id, settings.score.n, by=_by(run), why=_why(run))
    progress(0.9, "retention")
    warnings += retain(
        job, attached=settings.publish.attached, archive_days=settings.publish.archive_days
    )
    progress(1.0, why_not or "live")
    return {
        "run_id": run.run_id,
        "live": why_not is None,
        "why_not_live": why_not,
        "rows": rows,
        "seconds": round(time.monotonic() - started, 3),
        "warnings": warnings,
    }


def load(
    settings: Settings,
    run: Run,
    folder: RunFolder,
    shard: Shard,
    progress: Progress = silent,
) -> bool:
    """Load a shard of a run's lists into the run's table, where no reader sees them yet.

    Parts of the lists that are there are left alone; each of the others is replaced in one
    transaction. What an earlier attempt at the run left, of other lists than these, goes first.
    Shards may be loaded at once, by several processes.

    Returns:
        Whether anything was left to do.

    Raises:
        ConfigError: The ids are of other types than the schema's, or it was never migrated.
        DatabaseError: The server failed: a retry goes on.
    """
    job = Job.of(settings)
    digest = _digest(folder)
    if _stored(job, run, digest):
        return False
    pointer.locked(job, lambda c: _create(c, job.schema, run.run_id, digest))
    parts = folder.parts("score")
    parts = parts[shard.share(len(parts))]
    loaded = False
    for number, part in enumerate(parts):
        of_part = within(progress, number / len(parts), (number + 1) / len(parts))
        lists = folder.path(part, "lists.parquet")
        with db.connect(job.dsn) as connection:
            if partitions.load(connection, job.schema, run.run_id, lists, of_part):
                companions.load_similar_users(connection, job.schema, run.run_id, folder, part)
                loaded = True
    return loaded


def _digest(folder: RunFolder) -> str:
    """Return what tells these lists from those of another attempt at the run."""
    files = [sorted(folder.manifest(part).files.items()) for part in folder.parts("score")]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _stored(job: Job, run: Run, digest: str) -> bool:
    """Tell whether the run's lists are stored: these, or some that readers have seen.

    Others, which an attempt left that ended before the pointer moved, are detached and dropped.
    """

    def stored(connection: db.PgConnection) -> bool | None:
        place = pointer.lists_in(connection, job.schema, run.run_id)
        if place in (None, "dropped"):
            # Detaching may have failed before, for readers that have ended by now.
            left = partitions.attached_digest(connection, job.schema, run.run_id, "top_n_list")
            return None if left else False
        there = partitions.attached_digest(connection, job.schema, run.run_id, str(place))
        if digest == there or pointer.standing(connection, job.schema, run.run_id).ever_live:
            return True
        pointer.record(connection, job.schema, run.run_id, None)
        return None

    found = pointer.locked(job, stored)
    if found is None:
        sweep(job)
    return bool(found)


def _create(connection: db.PgConnection, schema: str, run_id: int, digest: str) -> None:
    """Make the run's table, unless it is there; no row of another attempt's users stays."""
    if partitions.create(connection, schema, run_id, digest):
        companions.forget(connection, schema, run_id, ["similar_user_list"])


def _by(run: Run) -> str:
    return f"recjobs on {run.host}"


def _why(run: Run) -> str:
    return run.rule or f"the newest night, as of {run.key.as_of:%Y-%m-%d %H:%M %Z}"
