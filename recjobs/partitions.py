"""Where lists are stored: one table per run, filled outside, then attached to one of two parents.

``top_n_list`` has the runs that are live, or were and can be again at once; ``top_n_archive`` the
others. A table is filled and sealed before a partitioned table is touched at all, so that attaching
it takes a millisecond and no reader waits. Several processes may fill it at once, each with a slice
of the users.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import db
from recjobs.columns import IdType
from recjobs.copy_binary import copy_in
from recjobs.errors import ConfigError, DatabaseError
from recjobs.files import row_batches
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


def create(connection: db.PgConnection, schema: str, run_id: int, digest: str) -> bool:
    """Make a run's table where there is none for lists of this digest; False where there is one.

    One of other lists, which an earlier attempt at the run left, goes with its rows. Under the
    caller's lock, for two may come at once.
    """
    table = _table(schema, run_id)
    if _digest(connection, table) == digest:
        return False
    _create(connection, schema, table, "top_n_list")
    describe = db.query("partitions/describe", table=table.strings)
    db.execute(connection, describe, {"digest": digest})
    return True


def attached_digest(
    connection: db.PgConnection, schema: str, run_id: int, parent: str
) -> str | None:
    """Return the digest of a run's attached lists; None for a copy, or where there are none."""
    return _digest(connection, sql.Identifier(schema, f"{parent}_{run_id}"))


def load(
    connection: db.PgConnection,
    schema: str,
    run_id: int,
    lists: Path,
    progress: Progress = silent,
) -> bool:
    """Load a slice, a ``lists.parquet``, into a run's table; False where all of it is there.

    What is there of its users, and not whole, is replaced. All in the caller's transaction: a
    killed load leaves nothing.

    Raises:
        ConfigError: The ids are of other types than the schema's.
    """
    user_type, item_type = id_types(connection, schema)
    columns = {
        "user_id": user_type,
        "run_id": "bigint",
        "item_ids": f"{item_type}[]",
        "scores": "real[]",
        "sources": "text[]",
        "because_item_ids": f"{item_type}[]",
        "because_features": "text[]",
        "reason": "text",
    }
    table = _table(schema, run_id)
    with pq.ParquetFile(lists) as file:
        rows = int(file.metadata.num_rows)
        schema_of_ids = (("user_id", user_type), ("item_ids", item_type))
        for name, type_ in schema_of_ids:
            require_type(name, file.schema_arrow.field(name).type, type_)
        span = span_of(file, run_id)
        stored = _count(connection, table, span)
        if stored == rows or not rows:
            return False
        if stored:
            forget(connection, table, span)
        batches = _with_run(file, run_id, [c for c in columns if c != "run_id"], rows, progress)
        copy_in(connection, table, columns, batches)
    return True


def complete(connection: db.PgConnection, schema: str, run_id: int, rows: int) -> None:
    """Count the lists of a run's table and seal it; one that was sealed before is counted.

    Raises:
        DatabaseError: A slice is missing, or a part of one.
    """
    table = _table(schema, run_id)
    stored = _count(connection, table, {"run_id": run_id, "first": None, "last": None})
    if stored != rows:
        raise DatabaseError(f"run {run_id}: expected {rows} lists in the database, found {stored}")
    quoted = {"table": table.as_string(connection)}
    if not db.execute(connection, db.query("partitions/sealed"), quoted)[0][0]:
        _seal(connection, table, run_id)


def span_of(file: pq.ParquetFile, run_id: int) -> dict[str, Any]:
    """Return which rows of a run a file has that ascends by user: run_id, first and last user.

    The users are None where it has no rows.
    """
    groups = file.num_row_groups
    if not groups:
        return {"run_id": run_id, "first": None, "last": None}
    first, last = (file.read_row_group(group, ["user_id"])["user_id"] for group in (0, groups - 1))
    return {"run_id": run_id, "first": first[0].as_py(), "last": last[-1].as_py()}


def forget(connection: db.PgConnection, table: sql.Identifier, span: Mapping[str, Any]) -> None:
    """Remove the rows of a `span_of`, to write them anew."""
    db.execute(connection, db.query("partitions/forget", table=table.strings), span)


def attach(connection: db.PgConnection, schema: str, run_id: int, parent: Parent) -> None:
    """Attach the run's loaded table to a parent, in the caller's transaction."""
    _attach(connection, schema, run_id, _table(schema, run_id), parent)


def copy(
    connection: db.PgConnection, schema: str, run_id: int, origin: Parent, parent: Parent
) -> None:
    """Copy a run's lists out of one parent, for the other to be attached to."""
    table = _table(schema, run_id)
    _create(connection, schema, table, parent)
    statement = db.query("partitions/copy", table=table.strings, origin=(schema, origin))
    db.execute(connection, statement, {"run_id": run_id})
    _seal(connection, table, run_id)


def copied(connection: db.PgConnection, schema: str, run_id: int) -> bool:
    """Tell whether a run's table is there, to be attached."""
    return _exists(connection, _table(schema, run_id))


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
    for batch in row_batches(file, BATCH_ROWS, names):
        yield batch.append_column("run_id", pa.array([run_id] * len(batch), pa.int64()))
        done += len(batch)
        progress(done / rows, f"{done:,} of {rows:,} lists")


def _create(
    connection: db.PgConnection, schema: str, table: sql.Identifier, parent: Parent
) -> None:
    names = {"table": table.strings}
    db.execute(connection, db.query("partitions/drop", **names))
    db.execute(connection, db.query("partitions/create", **names, parent=(schema, parent)))
    quoted = sql.Identifier(schema, parent).as_string(connection)
    owner = db.execute(connection, db.query("partitions/owner"), {"parent": quoted})[0][0]
    db.execute(connection, db.query("partitions/own", **names, owner=owner))


def _seal(connection: db.PgConnection, table: sql.Identifier, run_id: int) -> None:
    db.execute(connection, db.query("partitions/seal", table=table.strings), {"run_id": run_id})
    db.execute(connection, db.query("partitions/analyze", table=table.strings))


def _count(connection: db.PgConnection, table: sql.Identifier, span: Mapping[str, Any]) -> int:
    counted = db.query("partitions/count", table=table.strings)
    return int(db.execute(connection, counted, span)[0][0])


def _digest(connection: db.PgConnection, table: sql.Identifier) -> str | None:
    quoted = {"table": table.as_string(connection)}
    digest: str | None = db.execute(connection, db.query("partitions/digest"), quoted)[0][0]
    return digest


def _exists(connection: db.PgConnection, table: sql.Identifier) -> bool:
    quoted = {"table": table.as_string(connection)}
    return bool(db.execute(connection, db.query("partitions/exists"), quoted)[0][0])


def _attach(
    connection: db.PgConnection, schema: str, run_id: int, table: sql.Identifier, parent: Parent
) -> None:
    name = f"{parent}_{run_id}"
    if _exists(connection, sql.Identifier(schema, name)):
        raise DatabaseError(
            f"table {schema}.{name}, an earlier one of run {run_id}, is still being detached, for "
            "a transaction that read it is open: end that, or try again later"
        )
    db.execute(connection, db.query("partitions/rename", table=table.strings, name=name))
    names = {"parent": (schema, parent), "table": (schema, name)}
    db.execute(connection, db.query("partitions/attach", **names), {"run_id": run_id})


def _table(schema: str, run_id: int) -> sql.Identifier:
    return sql.Identifier(schema, f"top_n_load_{run_id}")
