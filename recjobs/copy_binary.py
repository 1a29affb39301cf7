"""Arrow to Postgres by COPY BINARY, encoded column by column, never row by row in Python.

A batch is encoded (`copy_fields`) while the one before it is on its way: memory follows the batch.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import psycopg2
import pyarrow as pa
from psycopg2 import sql

from recjobs.copy_fields import field_of
from recjobs.db import PgConnection
from recjobs.threads import ahead

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_READ_BYTES: Final = 1 << 20

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
        columns: The SQL type of each column, a key of `copy_fields.OIDS`, with ``[]`` for arrays;
            the batches have columns of these names. Ids of type uuid come as text.
        batches: Arrow record batches.

    Raises:
        DataError: A value can't be of its column's type.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(table, names)
    with connection.cursor() as cursor:
        stream = _Stream(ahead(_encoded(batches, columns)))
        try:
            cursor.copy_expert(statement, stream, size=_READ_BYTES)
        except psycopg2.Error:
            if stream.failure is not None:  # to the driver it is just a stream that ends
                raise stream.failure from None
            raise
        return int(cursor.rowcount)


def encode(batch: pa.RecordBatch, columns: Mapping[str, str]) -> memoryview:
    """Return a batch's rows as they stand in the stream, without its header and trailer."""
    fields = [field_of(batch.column(name), type_) for name, type_ in columns.items()]
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


class _Stream(io.RawIOBase):
    """A file to read from, as the driver wants one, over chunks of bytes.

    Attributes:
        failure: What making a chunk has raised, None where nothing.
    """

    def __init__(self, chunks: Iterator[_Chunk]) -> None:
        self.failure: Exception | None = None
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = _READ_BYTES, /) -> bytes:
        try:
            while not self._rest and (chunk := next(self._chunks, None)) is not None:
                self._rest = memoryview(chunk)
        except Exception as error:
            self.failure = error
            raise
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)
