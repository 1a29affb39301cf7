"""Arrow to Postgres by COPY BINARY, encoded column by column, never row by row in Python.

Every field of the format is its length, big-endian, then its bytes. A column becomes one Arrow
array of such fields (`_fields`): numbers and uuid from a fixed-width numpy array, text and lists
from their offsets. Arrow then joins the columns' fields row by row, and its data buffer is the
stream. A batch is encoded while the one before it is on its way: memory follows the batch.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from psycopg2 import sql

from recjobs.db import PgConnection
from recjobs.errors import DataError

#: Types of columns that can be written, and what the server calls each: its OID.
OIDS: Final[Mapping[str, int]] = {
    "boolean": 16,
    "bigint": 20,
    "integer": 23,
    "text": 25,
    "real": 700,
    "double precision": 701,
    "uuid": 2950,
}
_BIG_ENDIAN: Final[Mapping[str, str]] = {
    "boolean": "u1",
    "bigint": ">i8",
    "integer": ">i4",
    "real": ">f4",
    "double precision": ">f8",
}
_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_READ_BYTES: Final = 1 << 20
_NULL: Final = -1
_HYPHENS: Final = (8, 13, 18, 23)  # in a uuid's text

Bytes = npt.NDArray[np.uint8]


def copy_in(
    connection: PgConnection,
    table: sql.Composable,
    columns: Mapping[str, str],
    batches: Iterable[pa.RecordBatch],
) -> int:
    """Append batches to a table and return how many rows were written.

    Args:
        connection: In a transaction, which the caller commits.
        table: The quoted name.
        columns: The SQL type of each column, a key of `OIDS`, with ``[]`` for arrays; the batches
            have columns of these names. Ids of type uuid come as text.
        batches: Arrow record batches.

    Raises:
        DataError: A value can't be of its column's type.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(table, names)
    stream = _Stream(_encoded(batches, columns))
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, stream, size=_READ_BYTES)
        return int(cursor.rowcount)


def encode(batch: pa.RecordBatch, columns: Mapping[str, str]) -> memoryview:
    """Return a batch's rows as they stand in the stream, without its header and trailer."""
    count = pa.scalar(len(columns).to_bytes(2, "big"), pa.large_binary())
    fields = [_fields(batch.column(name), type_) for name, type_ in columns.items()]
    rows = pc.binary_join_element_wise(count, *fields, pa.scalar(b"", pa.large_binary()))
    return _content(rows)


def _encoded(
    batches: Iterable[pa.RecordBatch], columns: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    yield _HEADER
    for batch in batches:
        if len(batch):
            yield encode(batch, columns)
    yield _TRAILER


def _fields(column: pa.Array, type_: str) -> pa.LargeBinaryArray:
    if type_.endswith("[]"):
        return _lists(column, type_.removesuffix("[]"))
    if type_ == "text":
        return _texts(column)
    return _fixed(column, type_)


def _fixed(column: pa.Array, type_: str) -> pa.LargeBinaryArray:
    """Return fields of a fixed width, a null cut to its length of -1."""
    values = _uuids(column) if type_ == "uuid" else _numbers(column, _BIG_ENDIAN[type_])
    width, known = values.dtype.itemsize, _known(column)
    rows = np.empty(len(column), dtype=[("length", ">i4"), ("value", values.dtype)])
    rows["length"] = np.where(known, width, _NULL)
    rows["value"] = values
    return _ragged(rows.view(np.uint8).reshape(-1, 4 + width), np.where(known, 4 + width, 4))


def _texts(column: pa.Array) -> pa.LargeBinaryArray:
    contents = pc.fill_null(column.cast(pa.large_string()), "").cast(pa.large_binary())
    sizes = pc.binary_length(contents).to_numpy(zero_copy_only=False)
    lengths = np.where(_known(column), sizes, _NULL).astype(">i4")
    prefix = _ragged(lengths.view(np.uint8).reshape(-1, 4), np.full(len(column), 4))
    return pc.binary_join_element_wise(prefix, contents, pa.scalar(b"", pa.large_binary()))


def _lists(column: pa.Array, type_: str) -> pa.LargeBinaryArray:
    """Return arrays: dimensions, has-nulls, OID; then length and lower bound; then the elements."""
    sizes = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    elements = column.flatten()
    fields = _fields(elements, type_)
    starts = np.frombuffer(fields.buffers()[1], dtype=np.int64)[: len(fields) + 1]
    offsets = starts[np.concatenate([[0], np.cumsum(sizes)])]
    contents = _binary(offsets, fields.buffers()[2])

    filled, known = sizes > 0, _known(column)
    head = np.empty((len(column), 6), dtype=">i4")
    head[:, 0] = np.where(known, np.where(filled, 20, 12) + np.diff(offsets), _NULL)
    head[:, 1] = filled
    head[:, 2] = elements.null_count > 0
    head[:, 3] = OIDS[type_]
    head[:, 4] = sizes
    head[:, 5] = 1
    kept = np.where(known, np.where(filled, 24, 16), 4)
    heads = _ragged(head.view(np.uint8), kept)
    return pc.binary_join_element_wise(heads, contents, pa.scalar(b"", pa.large_binary()))


def _numbers(column: pa.Array, dtype: str) -> npt.NDArray[Any]:
    filled = pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0)
    values: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False).astype(dtype)
    return values


def _uuids(column: pa.Array) -> npt.NDArray[Any]:
    """Return the 16 bytes of each uuid, from its 36 characters; ``(n,)`` of dtype V16."""
    text = pc.fill_null(column.cast(pa.large_string()), "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
    if not pc.all(pc.equal(pc.binary_length(text), 36)).as_py() and len(text):
        raise DataError("ids of type uuid: expected 36 characters each, as in Postgres's own text")
    letters = np.frombuffer(_content(text), dtype=np.uint8).reshape(-1, 36)
    halves = _HEX[np.delete(letters, _HYPHENS, axis=1)]
    if (halves > 15).any() or (letters[:, _HYPHENS] != ord("-")).any():
        raise DataError("ids of type uuid: expected hexadecimal digits and hyphens")
    packed = np.ascontiguousarray(halves[:, 0::2] << 4 | halves[:, 1::2])
    return packed.view("V16").reshape(-1)


def _hex_values() -> Bytes:
    table = np.full(256, 255, dtype=np.uint8)
    for value, digit in enumerate("0123456789abcdef"):
        table[[ord(digit), ord(digit.upper())]] = value
    return table


_HEX: Final = _hex_values()


def _known(column: pa.Array) -> npt.NDArray[np.bool_]:
    known: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return known


def _ragged(rows: Bytes, kept: npt.NDArray[Any]) -> pa.LargeBinaryArray:
    """Return the first ``kept[i]`` bytes of each row of ``(n, width)`` bytes."""
    width = rows.shape[1]
    flat = rows.reshape(-1) if (kept == width).all() else rows[np.arange(width) < kept[:, None]]
    return _binary(np.concatenate([[0], np.cumsum(kept)]), pa.py_buffer(np.ascontiguousarray(flat)))


def _binary(offsets: npt.NDArray[Any], data: pa.Buffer | None) -> pa.LargeBinaryArray:
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), data or pa.py_buffer(b"")]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _content(array: pa.LargeBinaryArray) -> memoryview:
    """Return the bytes of all elements, one after the other."""
    if not len(array):
        return memoryview(b"")
    _, offsets, data = array.buffers()
    first, last = np.frombuffer(offsets, np.int64)[[array.offset, array.offset + len(array)]]
    return memoryview(data)[int(first) : int(last)] if data else memoryview(b"")


class _Stream(io.RawIOBase):
    """A file to read from, as the driver wants one, over chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes | memoryview]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
