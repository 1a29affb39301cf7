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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import db, live, partitions, pointer
from recjobs.artifacts import RunFolder
from recjobs.columns import ACTIVE, AVAILABLE, ITEM_ID, REASON, TITLE, USER_ID, IdType
from recjobs.config import Settings
from recjobs.copy_binary import copy_in
from recjobs.dataset import BoolArray
from recjobs.files import row_batches
from recjobs.index import Index
from recjobs.pointer import Job
from recjobs.progress import Progress, silent, within
from recjobs.retain import retain
from recjobs.runs import Run
from recjobs.shards import Shard
from recjobs.sweep import sweep

INACTIVE: Final = "inactive in the users table"
NOT_A_USER: Final = "not in the users table"
_LOADED: Final = 0.8  # of the stage's time, about


def publish(
    dsn: str, settings: Settings, run: Run, folder: RunFolder, progress: Progress = silent
) -> dict[str, Any]:
    """Store a run's lists and make it live, if it may go live by itself.

    Args:
        dsn: The target database.
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
    job = _job(dsn, settings)
    lists = folder.paths("score", "lists.parquet")
    rows = sum(pq.read_metadata(path).num_rows for path in lists)
    if not _stored(job, run, _digest(folder)):
        with db.connect(dsn) as connection:
            # What goes with the lists is written beside them, and committed once they are whole.
            with ThreadPoolExecutor(1) as pool:
                companions = pool.submit(
                    _load_companions, connection, job.schema, run.run_id, folder
                )
                load(dsn, settings, run, folder, Shard(1, 1), within(progress, 0, _LOADED))
            companions.result()
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
    dsn: str,
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
    job = _job(dsn, settings)
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
        with db.connect(dsn) as connection:
            if partitions.load(connection, job.schema, run.run_id, lists, of_part):
                _load_similar_users(connection, job.schema, run.run_id, folder, part)
                loaded = True
    return loaded


def promote(dsn: str, settings: Settings, run: Run, *, by: str, why: str) -> None:
    """Make a stored run live because a person says so; see `live.promote`."""
    live.promote(_job(dsn, settings), run.run_id, by=by, why=why)


def rollback(dsn: str, settings: Settings, *, pin: bool, by: str, why: str) -> int:
    """Make the run before the live one live again and return it; see `live.rollback`."""
    return live.rollback(_job(dsn, settings), pin=pin, by=by, why=why)


def unpin(dsn: str, settings: Settings) -> None:
    """Let runs go live by themselves again; see `live.unpin`."""
    live.unpin(_job(dsn, settings))


def _job(dsn: str, settings: Settings) -> Job:
    return Job(dsn, settings.job.db_schema, settings.publish.lock_timeout_ms)


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
        alike = db.query("publish/forget", table=(schema, "similar_user_list"))
        db.execute(connection, alike, {"run_id": run_id})


def _by(run: Run) -> str:
    return f"recjobs on {run.host}"


def _why(run: Run) -> str:
    return run.rule or f"the newest night, as of {run.key.as_of:%Y-%m-%d %H:%M %Z}"


def _load_companions(
    connection: db.PgConnection, schema: str, run_id: int, folder: RunFolder
) -> None:
    """Write what no shard has a share in: items, their neighbours, the popular, the unserved."""
    user_type, item_type = partitions.id_types(connection, schema)
    similar = {ITEM_ID: item_type, "similar_item_ids": f"{item_type}[]", "scores": "real[]"}
    popular = {"segment": "text", "item_ids": f"{item_type}[]", "scores": "real[]"}
    unserved = {USER_ID: user_type, REASON: "text"}
    for table, columns, batches in (
        ("similar_list", similar, _batches(folder.path("score", "similar.parquet"), similar)),
        ("popular_list", popular, _batches(folder.path("score", "popular.parquet"), popular)),
        ("unserved_user", unserved, iter(_unserved(folder).to_batches())),
    ):
        target = sql.Identifier(schema, table)
        db.execute(connection, db.query("publish/forget", table=target.strings), {"run_id": run_id})
        _copy(connection, target, columns, batches, run_id)
    _load_items(connection, schema, run_id, item_type, _items(folder))


def _load_similar_users(
    connection: db.PgConnection, schema: str, run_id: int, folder: RunFolder, part: str
) -> None:
    """Write the users alike of a part of the users, where the job asks for them."""
    if "similar_users.parquet" not in folder.manifest(part).files:
        return
    path = folder.path(part, "similar_users.parquet")
    user_type, _ = partitions.id_types(connection, schema)
    alike = {USER_ID: user_type, "similar_user_ids": f"{user_type}[]", "scores": "real[]"}
    table = sql.Identifier(schema, "similar_user_list")
    with pq.ParquetFile(path) as file:
        partitions.forget(connection, table, partitions.span_of(file, run_id))
    _copy(connection, table, alike, _batches(path, alike), run_id)


def _copy(
    connection: db.PgConnection,
    table: sql.Identifier,
    columns: Mapping[str, str],
    batches: Iterator[pa.RecordBatch],
    run_id: int,
) -> None:
    named = (
        batch.append_column("run_id", pa.array([run_id] * len(batch), pa.int64()))
        for batch in batches
    )
    copy_in(connection, table, {**columns, "run_id": "bigint"}, named)


def _load_items(
    connection: db.PgConnection, schema: str, run_id: int, item_type: IdType, items: pa.Table
) -> None:
    table = sql.Identifier(schema, f"item_load_{run_id}")
    columns = {ITEM_ID: item_type, TITLE: "text", AVAILABLE: "boolean"}
    db.execute(connection, db.query("publish/create_items", schema=schema, table=table.strings))
    copy_in(connection, table, columns, items.to_batches())
    upsert = db.query("publish/items", schema=schema, table=table.strings)
    db.execute(connection, upsert, {"run_id": run_id})
    db.execute(connection, db.query("partitions/drop", table=table.strings))


def _batches(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from row_batches(file, partitions.BATCH_ROWS, list(columns))


def _items(folder: RunFolder) -> pa.Table:
    """Return every item of the run with its title, where the source has one, and availability."""
    index = Index.load(folder.path("index", "items.parquet"))
    source = pq.read_table(folder.path("extract", "items.parquet"), columns=[ITEM_ID, TITLE])
    rows = pc.index_in(index.ids, value_set=source[ITEM_ID].combine_chunks())
    titles = source[TITLE].combine_chunks().take(rows)
    available = _of_log(folder, "available")
    return pa.table({ITEM_ID: index.ids, TITLE: titles, AVAILABLE: available})


def _of_log(folder: RunFolder, name: str) -> BoolArray:
    """Return one array of the log: the whole would be read for nothing."""
    with np.load(folder.path("index", "log.npz"), allow_pickle=False) as log:
        array: BoolArray = log[name]
    return array


def _unserved(folder: RunFolder) -> pa.Table:
    """Return the users that the run knows and makes no list for, each with the reason."""
    eligible = _of_log(folder, "eligible")
    users = Index.load(folder.path("index", "users.parquet"))
    ids = users.decode(np.flatnonzero(~eligible))
    source = pq.read_table(folder.path("extract", "users.parquet"), columns=[USER_ID, ACTIVE])
    inactive = pc.is_in(ids, value_set=source[USER_ID].combine_chunks())
    return pa.table({USER_ID: ids, REASON: pc.if_else(inactive, INACTIVE, NOT_A_USER)})
