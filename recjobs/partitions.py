"""Where lists are stored: one table per run, filled outside, then attached to one of two parents.

``top_n_list`` has the runs that are live, or were and can be again at once; ``top_n_archive`` the
others. A table is filled and sealed before a partitioned table is touched at all, so that attaching
it takes a millisecond and no reader waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import db
from recjobs.columns import IdType
from recjobs.copy_binary import copy_in
from recjobs.errors import ConfigError, DatabaseError
from recjobs.index import arrow_type
from recjobs.progress import Progress, silent

Parent = Literal["top_n_list", "top_n_archive"]
#: Rows that are encoded at once: about what fits a processor's cache.
BATCH_ROWS: Final = 2048


def id_types(connection: db.PgConnection, schema: str) -> tuple[IdType, IdType]:
    """Return the types of user and item ids that the schema was made for."""
    rows = db.execute(connection, db.query("partitions/id_types", schema=schema))
    if not rows:
        raise ConfigError(f"schema {schema} has no tables yet: run recjobs migrate")
    return rows[0][0], rows[0][1]


def load(
    connection: db.PgConnection,
    schema: str,
    run_id: int,
    lists: Path,
    progress: Progress = silent,
) -> int:
    """Fill and seal a run's table from ``lists.parquet`` and return its rows.

    All in the caller's transaction: a killed load leaves nothing.

    Raises:
        ConfigError: The ids are of other types than the schema's.
        DatabaseError: Not every row arrived.
    """
    user_type, item_type = id_types(connection, schema)
    columns = {
        "user_id": user_type,
        "run_id": "bigint",
        "item_ids": f"{item_type}[]",
        "scores": "real[]",
        "sources": "text[]",
        "because_item_ids": f"{item_type}[]",
        "reason": "text",
    }
    table = _table(schema, "load", run_id)
    with pq.ParquetFile(lists) as file:
        rows = int(file.metadata.num_rows)
        schema_of_ids = (("user_id", user_type), ("item_ids", item_type))
        for name, type_ in schema_of_ids:
            require_type(name, file.schema_arrow.field(name).type, type_)
        _create(connection, schema, table, "top_n_list")
        batches = _with_run(file, run_id, [c for c in columns if c != "run_id"], rows, progress)
        copy_in(connection, table, columns, batches)
    _seal(connection, table, run_id)
    stored = count(connection, table)
    if stored != rows:
        raise DatabaseError(f"run {run_id}: expected {rows} lists in the database, found {stored}")
    return rows


def attach(connection: db.PgConnection, schema: str, run_id: int, parent: Parent) -> None:
    """Attach the run's loaded table to a parent, in the caller's transaction."""
    _attach(connection, schema, run_id, _table(schema, "load", run_id), parent)


def copy(
    connection: db.PgConnection, schema: str, run_id: int, origin: Parent, parent: Parent
) -> None:
    """Copy a run's lists from one parent to the other, in the caller's transaction."""
    table = _table(schema, "load", run_id)
    _create(connection, schema, table, parent)
    statement = db.query("partitions/copy", table=table.strings, origin=(schema, origin))
    db.execute(connection, statement, {"run_id": run_id})
    _seal(connection, table, run_id)
    _attach(connection, schema, run_id, table, parent)


def count(connection: db.PgConnection, table: sql.Identifier) -> int:
    """Return how many rows a table has."""
    return int(db.execute(connection, db.query("partitions/count", table=table.strings))[0][0])


def require_type(name: str, received: pa.DataType, id_type: IdType) -> None:
    """Refuse a column of ids, or of lists of ids, that is not of the schema's type."""
    element = received.value_type if pa.types.is_list(received) else received
    if element != arrow_type(id_type):
        raise ConfigError(
            f"{name}: the schema was made for ids of type {id_type}, in Parquet "
            f"{arrow_type(id_type)}. Received: {element}. Did the source's id type change?"
        )


def _with_run(
    file: pq.ParquetFile, run_id: int, names: list[str], rows: int, progress: Progress
) -> Iterator[pa.RecordBatch]:
    done = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
        yield batch.append_column("run_id", pa.array([run_id] * len(batch), pa.int64()))
        done += len(batch)
        progress(done / rows, f"{done:,} of {rows:,} lists")


def _create(connection: db.PgConnection, schema: str, table: sql.Identifier, parent: str) -> None:
    names = {"table": table.strings}
    db.execute(connection, db.query("partitions/drop", **names))
    db.execute(connection, db.query("partitions/create", **names, parent=(schema, parent)))
    quoted = sql.Identifier(schema, parent).as_string(connection)
    owner = db.execute(connection, db.query("partitions/owner"), {"parent": quoted})[0][0]
    db.execute(connection, db.query("partitions/own", **names, owner=owner))


def _seal(connection: db.PgConnection, table: sql.Identifier, run_id: int) -> None:
    db.execute(connection, db.query("partitions/seal", table=table.strings), {"run_id": run_id})
    db.execute(connection, db.query("partitions/analyze", table=table.strings))


def _attach(
    connection: db.PgConnection, schema: str, run_id: int, table: sql.Identifier, parent: Parent
) -> None:
    name = f"{parent}_{run_id}"
    quoted = sql.Identifier(schema, name).as_string(connection)
    if db.execute(connection, db.query("partitions/exists"), {"table": quoted})[0][0]:
        raise DatabaseError(
            f"table {quoted}, an earlier one of run {run_id}, is still being detached, for a "
            "transaction that read it is open: end that, or try again later"
        )
    db.execute(connection, db.query("partitions/rename", table=table.strings, name=name))
    names = {"parent": (schema, parent), "table": (schema, name)}
    db.execute(connection, db.query("partitions/attach", **names), {"run_id": run_id})


def _table(schema: str, place: str, run_id: int) -> sql.Identifier:
    return sql.Identifier(schema, f"top_n_{place}_{run_id}")
