"""What goes with a run's lists: items, their neighbours, the popular, users alike, the unserved.

It lies in tables of its own beside the lists, in rows that are written with these and forgotten
with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import db, partitions
from recjobs.artifacts import RunFolder
from recjobs.columns import ACTIVE, AVAILABLE, ITEM_ID, REASON, TITLE, USER_ID, IdType
from recjobs.copy_binary import copy_in
from recjobs.dataset import BoolArray
from recjobs.files import row_batches
from recjobs.index import Index

INACTIVE: Final = "inactive in the users table"
NOT_A_USER: Final = "not in the users table"
#: Of these each run has rows of its own; the items are one table for all runs.
TABLES: Final = ("similar_list", "similar_user_list", "popular_list", "unserved_user")


def load(connection: db.PgConnection, schema: str, run_id: int, folder: RunFolder) -> None:
    """Write what no shard has a share in: items, their neighbours, the popular, the unserved.

    In the caller's transaction, in place of what an earlier attempt at the run left.

    Raises:
        ConfigError: The schema was never migrated.
    """
    user_type, item_type = partitions.id_types(connection, schema)
    similar = {ITEM_ID: item_type, "similar_item_ids": f"{item_type}[]", "scores": "real[]"}
    popular = {"segment": "text", "item_ids": f"{item_type}[]", "scores": "real[]"}
    unserved = {USER_ID: user_type, REASON: "text"}
    for table, columns, batches in (
        ("similar_list", similar, _batches(folder.path("score", "similar.parquet"), similar)),
        ("popular_list", popular, _batches(folder.path("score", "popular.parquet"), popular)),
        ("unserved_user", unserved, iter(_unserved(folder).to_batches())),
    ):
        forget(connection, schema, run_id, [table])
        _copy(connection, sql.Identifier(schema, table), columns, batches, run_id)
    _load_items(connection, schema, run_id, item_type, _items(folder))


def load_similar_users(
    connection: db.PgConnection, schema: str, run_id: int, folder: RunFolder, part: str
) -> None:
    """Write the users alike of a part of the users, where the job asks for them.

    In the caller's transaction, in place of what is there of these users.
    """
    if "similar_users.parquet" not in folder.manifest(part).files:
        return
    path = folder.path(part, "similar_users.parquet")
    user_type, _ = partitions.id_types(connection, schema)
    alike = {USER_ID: user_type, "similar_user_ids": f"{user_type}[]", "scores": "real[]"}
    table = sql.Identifier(schema, "similar_user_list")
    with pq.ParquetFile(path) as file:
        partitions.forget(connection, table, partitions.span_of(file, run_id))
    _copy(connection, table, alike, _batches(path, alike), run_id)


def forget(
    connection: db.PgConnection, schema: str, run_id: int, tables: Sequence[str] = TABLES
) -> None:
    """Remove a run's rows of these tables, in the caller's transaction."""
    for table in tables:
        statement = db.query("publish/forget", table=(schema, table))
        db.execute(connection, statement, {"run_id": run_id})


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
