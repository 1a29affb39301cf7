"""Arrow to Postgres by COPY BINARY, encoded column by column, never row by row in Python.

Every field of the format is its length, big-endian, then its bytes. A column becomes its values'
bytes one after the other (`_Bytes`), and `copy_kernels` puts them into the rows. A batch is encoded
while the one before it is on its way: memory follows the batch.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
_Chunk = bytes | memoryview


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
    with ThreadPoolExecutor(1) as pool, connection.cursor() as cursor:
        stream = _Stream(_ahead(_encoded(batches, columns), pool))
        cursor.copy_expert(statement, stream, size=_READ_BYTES)
        return int(cursor.rowcount)


def encode(batch: pa.RecordBatch, columns: Mapping[str, str]) -> memoryview:
    """Return a batch's rows as they stand in the stream, without its header and trailer."""
    fields = [_field(batch.column(name), type_) for name, type_ in columns.items()]
    sizes = sum((field.sizes for field in fields), np.full(len(batch), 2, dtype=np.int64))
    ends = np.cumsum(sizes)
    out = np.empty(int(sizes.sum()), dtype=np.uint8)
    at = ends - sizes
    count = len(columns).to_bytes(2, "big")
    out[at], out[at + 1] = count[0], count[1]
    at += 2 + out.ctypes.data
    for field in fields:
        field.put(at)
    return out.data


def _encoded(batches: Iterable[pa.RecordBatch], columns: Mapping[str, str]) -> Iterator[_Chunk]:
    yield _HEADER
    for batch in batches:
        if len(batch):
            yield encode(batch, columns)
    yield _TRAILER


@dataclass(frozen=True, slots=True)
class _Bytes:
    """Values one after the other.

    Attributes:
        ends: Where each ends, after a 0, int64 ``(n + 1,)``; a null is empty.
        data: Their bytes, uint8.
        known: False for a null, bool ``(n,)``.
    """

    ends: npt.NDArray[np.int64]
    data: Bytes
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, column: pa.Array, type_: str) -> _Bytes:
        known: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
        if type_ == "text":
            data, lengths = _text_bytes(column)
            return cls(_ends(np.where(known, lengths, 0)), data, known)
        values = _uuids(column) if type_ == "uuid" else _numbers(column, _BIG_ENDIAN[type_])
        if not known.all():
            values = values[known]
        return cls(_ends(np.where(known, values.dtype.itemsize, 0)), values.view(np.uint8), known)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each field, its length among them."""
        return 4 + np.diff(self.ends)

    def put(self, at: npt.NDArray[np.int64]) -> None:
        """Put a field into each row; see `copy_kernels.put_values`."""
        from recjobs.copy_kernels import put_values

        put_values(at, self.ends, self.data.ctypes.data, self.known)


@dataclass(frozen=True, slots=True)
class _Lists:
    """Arrays one after the other.

    Attributes:
        elements: Of all arrays.
        bounds: The first of each, and their number, int64 ``(n + 1,)``.
        lengths: Bytes of each array, -1 for a null, int64 ``(n,)``.
        heads: int32, ``(n, 5)``; see `copy_kernels.put_lists`.
    """

    elements: _Bytes
    bounds: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    heads: npt.NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.ListArray, type_: str) -> _Lists:
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        flat = column.flatten()
        elements, bounds = _Bytes.of(flat, type_), _ends(counts)
        contents = np.diff(_ends(elements.sizes)[bounds])
        known = column.is_valid().to_numpy(zero_copy_only=False)
        heads = np.empty((len(column), 5), dtype=np.int32)
        heads[:] = (0, flat.null_count > 0, OIDS[type_], 0, 1)
        heads[:, 0], heads[:, 3] = counts > 0, counts
        lengths = np.where(known, np.where(counts > 0, 20, 12) + contents, _NULL)
        return cls(elements, bounds, lengths, heads)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each field, its length among them."""
        return 4 + np.maximum(self.lengths, 0)

    def put(self, at: npt.NDArray[np.int64]) -> None:
        """Put a field into each row; see `copy_kernels.put_lists`."""
        from recjobs.copy_kernels import put_lists

        elements = self.elements
        put_lists(
            at, self.lengths, self.heads, self.bounds,
            elements.ends, elements.data.ctypes.data, elements.known,
        )  # fmt: skip


def _ahead(chunks: Iterator[_Chunk], pool: ThreadPoolExecutor) -> Iterator[_Chunk]:
    """Yield each chunk while the pool makes the next."""
    coming = pool.submit(next, chunks, None)
    while (chunk := coming.result()) is not None:
        coming = pool.submit(next, chunks, None)
        yield chunk


def _field(column: pa.Array, type_: str) -> _Bytes | _Lists:
    if type_.endswith("[]"):
        return _Lists.of(column, type_.removesuffix("[]"))
    return _Bytes.of(column, type_)


def _numbers(column: pa.Array, dtype: str) -> npt.NDArray[Any]:
    filled = pc.fill_null(column, False if pa.types.is_boolean(column.type) else 0)
    values: npt.NDArray[Any] = filled.to_numpy(zero_copy_only=False).astype(dtype)
    return values


def _uuids(column: pa.Array) -> npt.NDArray[Any]:
    """Return the 16 bytes of each uuid, from its 36 characters; ``(n,)`` of dtype V16."""
    text = pc.fill_null(column.cast(pa.large_string()), "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
    if not pc.all(pc.equal(pc.binary_length(text), 36)).as_py() and len(text):
        raise DataError("ids of type uuid: expected 36 characters each, as in Postgres's own text")
    letters = _text_bytes(text)[0].reshape(-1, 36)
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


def _text_bytes(column: pa.Array) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Return the bytes of all texts, one after the other, and the length of each; 0 of a null."""
    texts = pc.fill_null(column.cast(pa.large_string()), "")
    if not len(texts):
        return np.empty(0, dtype=np.uint8), np.empty(0, dtype=np.int64)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    return content, np.diff(ends)


def _ends(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    ends: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return ends


class _Stream(io.RawIOBase):
    """A file to read from, as the driver wants one, over chunks of bytes."""

    def __init__(self, chunks: Iterator[_Chunk]) -> None:
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
