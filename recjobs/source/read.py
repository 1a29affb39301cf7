"""Read queries as Arrow, by ADBC, in one read-only repeatable-read transaction.

Nothing is written or locked on the source. A read replica may cancel the reading where it must
replay what the reading still sees: then it begins anew, with a new snapshot.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import CREATED_AT, RATING, TS
from recjobs.errors import ConfigError, DatabaseError, DataError, RecJobsError
from recjobs.progress import Progress

#: Arrow type of every instant in a snapshot.
INSTANT: Final = pa.timestamp("us", "UTC")
#: Arrow type of every string until it is written: a snapshot repeats each of them many times.
CODED: Final = pa.dictionary(pa.int32(), pa.string())

#: Serialization failure and deadlock: on a replica, a conflict with what it must replay.
_CONFLICTS: Final = frozenset({"40001", "40P01"})
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
        Per query a table: strings dictionary-encoded, instants as `INSTANT`, ratings as float32.

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
    with _snapshot(dsn) as cursor:
        for name, query in queries.items():
            cursor.execute(query)
            # Not fetch_record_batch(): its reader loses the SQLSTATE of an error on the way.
            reader = cursor._results.reader
            batches = []
            for batch in reader:
                batches.append(_compact(batch))
                done += len(batch)
                share = min(done / max(expected_rows, 1), 1.0)
                progress(share, f"{done:,} rows read")
            tables[name] = _table(batches, _compact(reader.schema.empty_table()))
    return tables


@contextmanager
def _snapshot(dsn: str) -> Iterator[Any]:
    import adbc_driver_postgresql.dbapi as adbc
    from psycopg2.extensions import make_dsn

    # psycopg2 has parsed the DSN before, for the catalog: a malformed one is reported there.
    uri = make_dsn(dsn, application_name="recjobs", connect_timeout=10, client_encoding="UTF8")
    try:
        with (
            adbc.connect(uri, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("begin isolation level repeatable read, read only")
            yield cursor
            cursor.execute("commit")
    except (adbc.Error, pa.ArrowException, OSError) as error:
        raise _translated(error) from error


def _translated(error: BaseException) -> RecJobsError:
    """Return the error of our tree that says what to do about one of the driver's."""
    state = getattr(error, "sqlstate", None) or ""
    message = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if state in _CONFLICTS:
        return _ReplayConflict(message)
    if state.startswith("42"):  # a right, a table, a column or a function is missing
        return ConfigError(f"the source refused the query: {message}. See: recjobs doctor")
    if state.startswith("22"):  # a cast or a division failed on some row
        return DataError(f"a row of the source can't be read as the settings ask: {message}")
    return DatabaseError(f"reading the source failed: {message}")


def _table(batches: list[pa.Table], empty: pa.Table) -> pa.Table:
    """Return one table of the batches, each column in one chunk over one dictionary."""
    return pa.concat_tables([empty, *batches]).unify_dictionaries().combine_chunks()


def _compact(batch: pa.RecordBatch | pa.Table) -> pa.Table:
    """Return the batch in the types that it is sorted in, without the driver's notes."""
    columns = {
        name: _compact_column(name, column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    return pa.table(columns)


def _compact_column(name: str, column: pa.Array | pa.ChunkedArray) -> Any:
    if name in (TS, CREATED_AT):
        return column.cast(INSTANT)
    if name == RATING:
        # A float8 beyond float4 becomes infinite here, and is set aside as such.
        return pc.cast(column, pa.float32(), safe=False)
    return column.cast(CODED) if pa.types.is_string(column.type) else column
