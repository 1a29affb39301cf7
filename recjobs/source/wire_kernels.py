"""Rows of COPY BINARY out of libpq into a buffer, and out of the buffer into columns.

A row costs about 50 ns here, and 300 where each becomes an object on its way. Imported where it
runs, for the import takes a while.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import extending, types

from recjobs.kernels import compiled
from recjobs.memory import copy, number4, number8

Bytes = npt.NDArray[np.uint8]
_intrinsic: Any = extending.intrinsic
_I64, _I32 = ir.IntType(64), ir.IntType(32)


@_intrinsic
def _get_copy_data(typingctx: Any, function: Any, connection: Any, row: Any) -> Any:
    """``int PQgetCopyData(PGconn *, char **, int async)`` by its address; it waits."""

    def emit(_: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I64, _I64, _I32]).as_pointer()
        called = builder.call(builder.inttoptr(args[0], kind), [args[1], args[2], _I32(0)])
        return builder.sext(called, _I64)

    return types.int64(types.int64, types.int64, types.int64), emit


@_intrinsic
def _free(typingctx: Any, function: Any, address: Any) -> Any:
    """``void PQfreemem(void *)`` by its address."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [_I64]).as_pointer()
        builder.call(builder.inttoptr(args[0], kind), [args[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@compiled
def drain(
    get: int,
    free: int,
    connection: int,
    row: npt.NDArray[np.int64],
    row_at: int,
    buffer_at: int,
    size: int,
) -> tuple[int, int]:
    """Fill a buffer with whole rows.

    Args:
        get: Address of ``PQgetCopyData``.
        free: Address of ``PQfreemem``.
        connection: Address of the ``PGconn``, in COPY.
        row: The address and the length of a row that was received and found no room, ``(2,)``; 0
            as a length for none. Changed in place.
        row_at: Address of ``row``.
        buffer_at: Address of the buffer.
        size: Its bytes.

    Returns:
        The bytes filled, and what ended it: 0 for want of room, libpq's -1 at the end, its -2
        where the connection failed.
    """
    used = 0
    while True:
        if row[1] == 0:
            length = _get_copy_data(get, connection, row_at)
            if length < 0:
                return used, length
            row[1] = length
        if used + row[1] > size:
            return used, 0
        copy(buffer_at + used, row[0], row[1])
        _free(free, row[0])
        used += row[1]
        row[1] = 0


@compiled
def parse(
    stream: Bytes,
    is_text: npt.NDArray[np.bool_],
    values: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int32],
) -> int:
    """Take rows apart and return how many there are, up to the trailer if it is there.

    Args:
        stream: Whole rows, without the header.
        is_text: Of each column, ``(n_columns,)``.
        values: Filled, ``(n_columns, at least n_rows)``: the bits of a number, the position of a
            text in the stream.
        lengths: Filled, of the same shape; -1 for a null.
    """
    at: Any = 0
    row = 0
    base = stream.ctypes.data
    while at < len(stream):
        if stream[at] == 0xFF:  # the trailer: -1 fields
            break
        at += 2
        for column in range(len(is_text)):
            length = number4(base + at)
            at += 4
            lengths[column, row] = length
            if is_text[column]:
                values[column, row] = at
            elif length == 8:
                values[column, row] = number8(base + at)
            elif length == 4:
                values[column, row] = number4(base + at)
            else:
                values[column, row] = _unsigned(stream, at, length)
            if length > 0:
                at += length
        row += 1
    return row


@compiled
def _unsigned(stream: Bytes, at: Any, length: Any) -> Any:
    """Return big-endian bytes as an int64 of the same bits; 0 of a null."""
    value = np.int64(0)
    for place in range(at, at + length):
        value = (value << 8) | np.int64(stream[place])
    return value


@compiled
def gather(
    stream: Bytes,
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    out: Bytes,
) -> None:
    """Put texts one after the other.

    Args:
        stream: Where they are.
        starts: Of each, ``(n,)``.
        ends: Where each ends in ``out``, after a 0, ``(n + 1,)``.
        out: Filled, ``(ends[-1],)``.
    """
    for row in range(len(starts)):
        for place in range(ends[row + 1] - ends[row]):
            out[ends[row] + place] = stream[starts[row] + place]
