"""COPY BINARY as Arrow columns, a buffer at a time, with no object for a row.

The driver's own copying calls a Python method for each row, so the driver only connects: rows are
taken from the libpq that it is linked with (`wire_kernels`).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import psycopg2
import pyarrow as pa
from psycopg2 import sql

from recjobs.db import PgConnection
from recjobs.errors import ConfigError
from recjobs.source.codes import Codes

#: Arrow type of every instant.
INSTANT: Final = pa.timestamp("us", "UTC")
_TEXT: Final = pa.string()
#: By the server's OID.
_TYPES: Final = {
    16: pa.bool_(),
    20: pa.int64(),
    23: pa.int32(),
    25: _TEXT,
    700: pa.float32(),
    701: pa.float64(),
    1184: INSTANT,
}
#: Bits of a fixed-width value as numpy reads them: narrowed first where the value is narrower.
_BITS: Final = {
    pa.int32(): (np.int32, np.int32),
    pa.float32(): (np.int32, np.float32),
    pa.float64(): (np.int64, np.float64),
    pa.bool_(): (np.int8, np.bool_),
}
#: Postgres counts instants from 2000-01-01; 0001-01-02 and 9999-12-30 in its microseconds. What
#: lies outside, infinities among it, has no place in Python's datetime.
_EPOCH: Final = 946_684_800_000_000
_FIRST, _LAST = (
    int(np.datetime64(day, "us").astype(np.int64)) for day in ("0001-01-02", "9999-12-30")
)

_HEADER_BYTES: Final = 19
_BUFFER_BYTES: Final = 2 << 20
_COPY_OUT, _COMMAND_OK = 3, 1  # ExecStatusType
_SQLSTATE, _MESSAGE = ord("C"), ord("M")  # diagnostic fields


def copied(
    connection: PgConnection, query: str, ids: Mapping[str, Codes] | None = None
) -> Iterator[pa.RecordBatch]:
    """Run a query and yield its rows, at least one batch; instants are clamped to Python's years.

    Args:
        connection: In a transaction, its client encoding UTF8; fit only to be closed afterwards
            where this is left before its end.
        query: Gives columns of type boolean, integer, bigint, real, double precision, text or
            timestamptz.
        ids: What encodes columns, by their name, where they are of integers.

    Raises:
        psycopg2.Error: The server failed or refused, by its SQLSTATE.
        ConfigError: A column is of another type.
    """
    from recjobs.source.wire_kernels import drain

    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("select * from (\n{}\n) as asked limit 0").format(sql.SQL(query)))
        asked = [(column.name, column.type_code) for column in cursor.description or ()]
    schema = pa.schema([(name, _type(name, oid)) for name, oid in asked])
    libpq, address = _libpq(), cast(int, connection.pgconn_ptr)
    get, free = _address(libpq.PQgetCopyData), _address(libpq.PQfreemem)
    statement = sql.SQL("copy (\n{}\n) to stdout (format binary)").format(sql.SQL(query))
    text = statement.as_string(connection).encode()
    _expect(libpq, address, libpq.PQexec(address, text), _COPY_OUT)
    row = np.zeros(2, dtype=np.int64)

    def fill(buffer: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], int, int]:
        if row[1] > len(buffer):
            buffer = np.empty(row[1], dtype=np.uint8)
        used, ended = drain(
            get, free, address, row, row.ctypes.data, buffer.ctypes.data, len(buffer)
        )
        return buffer, used, ended

    room = None  # for what a buffer holds, used again: fresh memory costs more than all else here
    # One buffer is filled while the rows of the other are taken apart.
    spare = np.empty(_BUFFER_BYTES, dtype=np.uint8)
    with ThreadPoolExecutor(1) as reader:
        filling = reader.submit(fill, np.empty(_BUFFER_BYTES, dtype=np.uint8))
        skipped, ended = _HEADER_BYTES, 0
        while ended == 0:
            buffer, used, ended = filling.result()
            if ended == 0:
                filling = reader.submit(fill, spare)
            room = _room(len(buffer), schema, room)
            yield _batch(buffer[skipped:used], schema, room, ids or {})
            spare = buffer
            if used:  # else its first row, which the header comes with, found no room
                skipped = 0
    _expect(libpq, address, libpq.PQgetResult(address), _COMMAND_OK)
    while result := libpq.PQgetResult(address):
        libpq.PQclear(result)


def _type(name: str, oid: int) -> pa.DataType:
    if oid not in _TYPES:
        raise ConfigError(f"column {name}: expected one of OIDs {sorted(_TYPES)}. Received: {oid}")
    return _TYPES[oid]


@functools.cache
def _libpq() -> ctypes.CDLL:
    # Its functions are found through what is linked with it, wherever a wheel or a system has it.
    libpq = ctypes.CDLL(psycopg2._psycopg.__file__)
    for name, result, arguments in (
        ("PQexec", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_char_p]),
        ("PQgetResult", ctypes.c_void_p, [ctypes.c_void_p]),
        ("PQresultStatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQresultErrorField", ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_int]),
        ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
        ("PQclear", None, [ctypes.c_void_p]),
    ):
        function = getattr(libpq, name)
        function.restype, function.argtypes = result, arguments
    return libpq


def _address(function: Any) -> int:
    return cast(int, ctypes.cast(function, ctypes.c_void_p).value)


def _expect(libpq: ctypes.CDLL, connection: int, result: int | None, status: int) -> None:
    """Raise the driver's error of a result that is not the expected one; free it."""
    try:
        if result and libpq.PQresultStatus(result) == status:
            return
        state = libpq.PQresultErrorField(result, _SQLSTATE) if result else None
        said = libpq.PQresultErrorField(result, _MESSAGE) if result else None
        message = (said or libpq.PQerrorMessage(connection) or b"").decode(errors="replace")
    finally:
        if result:
            libpq.PQclear(result)
    raise _error(state.decode() if state else "", message)


def _error(state: str, message: str) -> psycopg2.Error:
    try:
        kind = psycopg2.errors.lookup(state)
    except KeyError:
        kind = psycopg2.OperationalError
    return kind(message.strip() or "the connection was lost")


_Room = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]


def _room(size: int, schema: pa.Schema, room: _Room | None) -> _Room:
    """Return values and lengths for as many rows as a buffer may hold, ``(n_columns, n_rows)``."""
    # A row is its number of fields and their lengths at least.
    at_most = size // (2 + 4 * len(schema))
    shape = len(schema), at_most
    if room is not None and room[0].shape[1] >= at_most:
        return room
    return np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int32)


def _batch(
    stream: npt.NDArray[np.uint8], schema: pa.Schema, room: _Room, ids: Mapping[str, Codes]
) -> pa.RecordBatch:
    from recjobs.source.wire_kernels import parse

    is_text = np.array([field.type == _TEXT for field in schema], dtype=np.bool_)
    values, lengths = room
    n = parse(stream, is_text, values, lengths)
    columns = []
    for field, value, length in zip(schema, values[:, :n], lengths[:, :n], strict=True):
        if field.type == _TEXT:
            columns.append(_texts(stream, value, length))
        elif field.name in ids and pa.types.is_integer(field.type):
            columns.append(ids[field.name].encode(value, length))
        else:
            columns.append(_fixed(value, length < 0, field.type))
    return pa.record_batch(columns, names=schema.names)


def _fixed(
    bits: npt.NDArray[np.int64], null: npt.NDArray[np.bool_], type_: pa.DataType
) -> pa.Array:
    mask = null if null.any() else None
    if type_ == INSTANT:
        # The infinities are the ends of int64: clipped before the shift, which they would not bear.
        instants = np.clip(bits, _FIRST - _EPOCH, _LAST - _EPOCH)
        instants += _EPOCH
        return pa.array(instants, mask=mask).cast(INSTANT)
    narrow, kind = _BITS.get(type_, (np.int64, np.int64))
    return pa.array(bits.astype(narrow).view(kind), type_, mask=mask)


def _texts(
    stream: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int32],
) -> pa.Array:
    from recjobs.source.wire_kernels import gather

    ends = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0), dtype=np.int64)])
    content = np.empty(ends[-1], dtype=np.uint8)
    gather(stream, starts, ends, content)
    known = pa.array(lengths >= 0).buffers()[1]
    offsets = pa.py_buffer(ends.astype(np.int32))
    return pa.StringArray.from_buffers(len(starts), offsets, pa.py_buffer(content), known)
