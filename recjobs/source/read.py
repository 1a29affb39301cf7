"""Read queries as Arrow in one read-only repeatable-read transaction.

Nothing is written or locked on the source. A read replica may cancel the reading where it must
replay what the reading still sees: then it begins anew, with a new snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg2
import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc

from recjobs import db
from recjobs.columns import CREATED_AT, ITEM_ID, RATING, TS, USER_ID
from recjobs.errors import ConfigError, DatabaseError, DataError, RecJobsError
from recjobs.progress import Progress
from recjobs.source.catalog import first_line
from recjobs.source.codes import Codes
from recjobs.source.wire import INSTANT, copied

#: On a replica, a conflict with what it must replay.
_CONFLICTS: Final = (psycopg2.errors.SerializationFailure, psycopg2.errors.DeadlockDetected)
_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 1.0


class _ReplayConflict(DatabaseError):
    """The server cancelled the reading, and may well let it through the next time."""


def read_tables(
    dsn: str, queries: Mapping[str, str], expected_rows: int, progress: Progress
) -> dict[str, pa.Table]:
    """Run the queries on one snapshot of the database.

    Args:
        dsn: The source.
        queries: SQL by name.
        expected_rows: A guess at all their rows, for the progress.
        progress: Told the share read.

    Returns:
        Per query a table: strings and ids dictionary-encoded, instants as `INSTANT`, ratings as
        float32.

    Raises:
        DatabaseError: The server can't be reached, was lost, or cancelled every attempt.
        ConfigError: A right is missing, or a relation or column is not there any more.
        DataError: A value can't be cast as the settings' SQL asks.
    """
    attempt = 1
    while True:
        try:
            return _read_once(dsn, queries, expected_rows, progress)
        except _ReplayConflict as error:
            if attempt == _ATTEMPTS:
                raise DatabaseError(
                    f"the source cancelled the reading {_ATTEMPTS} times: {error}. If it is a read "
                    "replica, raise its max_standby_streaming_delay or set hot_standby_feedback."
                ) from error
            progress(0.0, f"cancelled by the source, attempt {attempt + 1} of {_ATTEMPTS}")
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            attempt += 1


def _read_once(
    dsn: str, queries: Mapping[str, str], expected_rows: int, progress: Progress
) -> dict[str, pa.Table]:
    tables: dict[str, pa.Table] = {}
    done = 0
    with _snapshot(dsn) as connection:
        for name, query in queries.items():
            batches: list[pa.RecordBatch] = []
            ids: dict[str, Codes] = {}
            for batch in copied(connection, query):
                batches.append(_compact(batch, ids))
                done += len(batch)
                if len(batch):
                    share = min(done / max(expected_rows, 1), 1.0)
                    progress(share, f"{done:,} rows read")
            tables[name] = _table(batches, ids)
    return tables


@contextmanager
def _snapshot(dsn: str) -> Iterator[db.PgConnection]:
    with db.connect(dsn) as connection:
        try:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            connection.set_client_encoding("UTF8")
            yield connection
        except psycopg2.Error as error:
            raise _translated(error) from error


def _translated(error: psycopg2.Error) -> RecJobsError:
    """Return the error of our tree that says what to do about one of the driver's."""
    message = first_line(error)
    if isinstance(error, _CONFLICTS):
        return _ReplayConflict(message)
    if isinstance(error, psycopg2.ProgrammingError):  # a right, a table or a column is missing
        return ConfigError(f"the source refused the query: {message}. See: recjobs doctor")
    if isinstance(error, psycopg2.DataError):  # a cast or a division failed on some row
        return DataError(f"a row of the source can't be read as the settings ask: {message}")
    return DatabaseError(f"reading the source failed: {message}")


def _compact(batch: pa.RecordBatch, ids: dict[str, Codes]) -> pa.RecordBatch:
    """Return the batch in the types that it is sorted in, ids that are integers as codes."""
    names = batch.schema.names
    columns = []
    for name, column in zip(names, batch.columns, strict=True):
        if name in (USER_ID, ITEM_ID) and pa.types.is_integer(column.type):
            column = ids.setdefault(name, Codes(column.type)).encode(column)
        columns.append(_compact_column(name, column))
    return pa.record_batch(columns, names=names)


def _compact_column(name: str, column: pa.Array) -> pa.Array:
    if name in (TS, CREATED_AT):
        return column.cast(INSTANT)  # of an epoch: its microseconds
    if name == RATING:
        # A float8 beyond float4 becomes infinite here, and is set aside as such.
        return pc.cast(column, pa.float32(), safe=False)
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def _table(batches: list[pa.RecordBatch], ids: dict[str, Codes]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    for name, codes in ids.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, codes.column(table[name].chunks))
    return table
