"""Read queries as Arrow in a read-only repeatable-read transaction, or in two on one snapshot.

Nothing is written or locked on the source. A read replica may cancel the reading where it must
replay what the reading still sees: then it begins anew, with a new snapshot.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from threading import Event, Lock
from typing import Final

import psycopg2
import psycopg2.errors
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import sql
from psycopg2.extensions import TRANSACTION_STATUS_INERROR

from recjobs import db
from recjobs.columns import CREATED_AT, ITEM_ID, RATING, TS, USER_ID
from recjobs.errors import ConfigError, DatabaseError, DataError, RecJobsError
from recjobs.progress import Progress, silent
from recjobs.source.codes import Codes
from recjobs.source.wire import INSTANT, copied

_logger = logging.getLogger(__name__)
#: On a replica, a conflict with what it must replay; and a lock that the second session waits for
#: behind a change of the table, which waits for the first: no deadlock that the server could see.
_CONFLICTS: Final = (
    psycopg2.errors.SerializationFailure,
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.LockNotAvailable,
)
_LOCK_SECONDS: Final = 5.0
_ATTEMPTS: Final = 5
_FIRST_PAUSE_SECONDS: Final = 1.0
_CANCEL_SECONDS: Final = 0.1


class _ReplayConflict(DatabaseError):
    """The server cancelled the reading, and may well let it through the next time."""


def read_tables(
    dsn: str, queries: Mapping[str, Sequence[str]], expected_rows: int, progress: Progress
) -> dict[str, pa.Table]:
    """Run the queries on one snapshot of the database.

    Args:
        dsn: The source.
        queries: SQL by name; where it is several, in parts, two sessions share them.
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
    dsn: str, queries: Mapping[str, Sequence[str]], expected_rows: int, progress: Progress
) -> dict[str, pa.Table]:
    tables = {}
    with _snapshot(dsn) as first:
        reading = _Reading(expected_rows, progress)
        for name, texts in queries.items():
            with _beside(dsn, first) if len(texts) > 1 else nullcontext() as second:
                tables[name] = reading.table(texts, first, second)
    return tables


@dataclass(frozen=True, slots=True)
class _Session:
    """One of two sessions at once, and whether its part is over, read or failed."""

    connection: db.PgConnection
    over: Event


class _Reading:
    """Reads by one session, or by two at once.

    Args:
        expected_rows: Of all queries.
        progress: Told the share read.
    """

    def __init__(self, expected_rows: int, progress: Progress) -> None:
        self._expected_rows = max(expected_rows, 1)
        self._progress = progress
        self._done = 0
        self._lock = Lock()
        self._failure: BaseException | None = None

    def table(
        self, texts: Sequence[str], first: db.PgConnection, second: db.PgConnection | None
    ) -> pa.Table:
        """Return the rows of queries, those of the first query before the others."""
        ids = {name: Codes() for name in (USER_ID, ITEM_ID)}
        if second is None or len(texts) == 1:
            return _table(self._read(first, texts, ids, self._progress), ids)
        one, other = _Session(first, Event()), _Session(second, Event())
        with ThreadPoolExecutor(1) as pool:
            others = pool.submit(self._part, other, texts[1:], ids, silent, one)
            batches = self._part(one, texts[:1], ids, self._progress, other)
            try:
                return _table(batches + others.result(), ids)
            except BaseException as error:  # an interrupt, while it was waited for
                raise self._failed(error, other) from None

    def _part(
        self,
        own: _Session,
        texts: Sequence[str],
        ids: Mapping[str, Codes],
        progress: Progress,
        other: _Session,
    ) -> list[pa.RecordBatch]:
        try:
            try:
                return self._read(own.connection, texts, ids, progress)
            finally:
                own.over.set()
        except BaseException as error:
            raise self._failed(error, other) from None

    def _failed(self, error: BaseException, other: _Session) -> BaseException:
        """End the other session's part too, and return what failed first."""
        with self._lock:
            self._failure = self._failure or error
        while not other.over.is_set():
            with suppress(psycopg2.Error):
                other.connection.cancel()
            # Lost where it came between two statements: asked for again until the part is over.
            other.over.wait(_CANCEL_SECONDS)
        return self._failure

    def _read(
        self,
        connection: db.PgConnection,
        texts: Sequence[str],
        ids: Mapping[str, Codes],
        progress: Progress,
    ) -> list[pa.RecordBatch]:
        batches = []
        parts = (copied(connection, text, ids) for text in texts)
        for batch in itertools.chain.from_iterable(parts):
            if self._failure is not None:  # of the other session
                raise self._failure
            batches.append(_compact(batch))
            with self._lock:
                self._done += len(batch)
            if len(batch):
                share = min(self._done / self._expected_rows, 1.0)
                progress(share, f"{self._done:,} rows read")
        return batches


@contextmanager
def _snapshot(dsn: str) -> Iterator[db.PgConnection]:
    with db.connect(dsn) as connection:
        try:
            # A session may have to wait for the other one.
            db.execute(connection, sql.SQL("set idle_in_transaction_session_timeout = 0"))
            connection.commit()
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            connection.set_client_encoding("UTF8")
            yield connection
        except psycopg2.Error as error:
            raise _translated(error) from error


@contextmanager
def _beside(dsn: str, first: db.PgConnection) -> Iterator[db.PgConnection | None]:
    """Open another session on the snapshot of the first; None where the server gives none."""
    with ExitStack() as stack:
        second = None
        try:
            [(snapshot,)] = db.execute(first, db.query("extract/export"))
            second = stack.enter_context(_snapshot(dsn))
            db.execute(second, sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))
            limit = sql.Literal(f"{_LOCK_SECONDS:g}s")
            db.execute(second, sql.SQL("set local lock_timeout = {}").format(limit))
        except (RecJobsError, psycopg2.Error) as error:
            # No more sessions are allowed, another replica answers, or the right is missing.
            _logger.info("the source is read by one session: %s", db.first_line(error))
            second = None
            stack.close()
            if first.info.transaction_status == TRANSACTION_STATUS_INERROR:
                first.rollback()
        yield second


def _translated(error: psycopg2.Error) -> RecJobsError:
    """Return the error of our tree that says what to do about one of the driver's."""
    message = db.first_line(error)
    if isinstance(error, _CONFLICTS):
        return _ReplayConflict(message)
    if isinstance(error, psycopg2.ProgrammingError):  # a right, a table or a column is missing
        return ConfigError(f"the source refused the query: {message}. See: recjobs doctor")
    if isinstance(error, psycopg2.DataError):  # a cast or a division failed on some row
        return DataError(f"a row of the source can't be read as the settings ask: {message}")
    return DatabaseError(f"reading the source failed: {message}")


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch in the types that it is sorted in."""
    names = batch.schema.names
    columns = zip(names, batch.columns, strict=True)
    return pa.record_batch([_compact_column(*column) for column in columns], names=names)


def _compact_column(name: str, column: pa.Array) -> pa.Array:
    if name in (TS, CREATED_AT):
        return column.cast(INSTANT)  # of an epoch: its microseconds
    if name == RATING:
        # A float8 beyond float4 becomes infinite here, and is set aside as such.
        return pc.cast(column, pa.float32(), safe=False)
    return column.dictionary_encode() if pa.types.is_string(column.type) else column


def _table(batches: list[pa.RecordBatch], ids: Mapping[str, Codes]) -> pa.Table:
    table = pa.Table.from_batches(batches)
    for place, field in enumerate(table.schema):
        if field.name in ids and pa.types.is_integer(field.type):  # codes
            column = ids[field.name].column(table[place].chunks)
            table = table.set_column(place, field.name, column)
    return table
