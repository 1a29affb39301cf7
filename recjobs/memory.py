"""Bytes at addresses, for compiled loops: numpy has no number that is not aligned.

An address comes from an array's ``ctypes.data``, or from a library; nothing here checks it.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

_intrinsic: Any = extending.intrinsic
_BYTE = ir.IntType(8).as_pointer()


@_intrinsic
def copy(typingctx: Any, target: Any, origin: Any, size: Any) -> Any:
    """``copy(target, origin, size)``: bytes from one address to another."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, of = (builder.inttoptr(address, _BYTE) for address in args[:2])
        cgutils.raw_memcpy(builder, to, of, args[2], 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@_intrinsic
def copy8(typingctx: Any, target: Any, origin: Any) -> Any:
    """``copy8(target, origin)``: eight bytes, by one move."""
    return _move(64)


@_intrinsic
def copy4(typingctx: Any, target: Any, origin: Any) -> Any:
    """``copy4(target, origin)``: four bytes, by one move."""
    return _move(32)


@_intrinsic
def swap8(typingctx: Any, target: Any, origin: Any) -> Any:
    """``swap8(target, origin)``: eight bytes, the last one first."""
    return _move(64, swap=True)


@_intrinsic
def swap4(typingctx: Any, target: Any, origin: Any) -> Any:
    """``swap4(target, origin)``: four bytes, the last one first."""
    return _move(32, swap=True)


@_intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """``prefetch(address)``: have its line of the cache near by; a bad address does no harm."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, number, number, number])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [_BYTE], kind)
        reading, to_l2, data = number(0), number(2), number(1)
        builder.call(fetch, [builder.inttoptr(args[0], _BYTE), reading, to_l2, data])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@_intrinsic
def put_number(typingctx: Any, target: Any, number: Any) -> Any:
    """``put_number(target, number)``: four bytes, big-endian."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(32)
        swapped = builder.bswap(builder.trunc(args[1], kind))
        builder.store(swapped, builder.inttoptr(args[0], kind.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@_intrinsic
def number4(typingctx: Any, address: Any) -> Any:
    """``number4(address)``: four bytes, big-endian, as an int64 of the same sign."""
    return _number(32)


@_intrinsic
def number8(typingctx: Any, address: Any) -> Any:
    """``number8(address)``: eight bytes, big-endian, as an int64."""
    return _number(64)


def _number(bits: int) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(bits)
        found = builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=1)
        swapped = builder.bswap(found)
        return swapped if bits == 64 else builder.sext(swapped, ir.IntType(64))

    return types.int64(types.int64), emit


def _move(bits: int, *, swap: bool = False) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(bits).as_pointer()
        to, of = (builder.inttoptr(address, kind) for address in args)
        found = builder.load(of, align=1)
        builder.store(builder.bswap(found) if swap else found, to, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit
