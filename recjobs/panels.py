"""Panels of scores, written in LLVM, for numba's loops to call.

A panel is `ROWS` users times `COLUMNS` items: small enough for its sums to stay in registers, where
they are compared with each user's threshold; only what passes is ever stored. A score is one chain
of fused multiply-adds over the dimensions in their order, so it is the same bits wherever the pair
stands.
"""

from __future__ import annotations

from typing import Any, Final

import llvmlite.binding as llvm
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_in_llvm: Any = intrinsic  # numba types what it decorates

_FEATURES = llvm.get_host_cpu_features()
#: Floats of a vector register; 6 x 4 of them hold a panel's sums where there are 32, else 6 x 2.
_WIDTH: Final = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx2") else 4
_VECTORS: Final = 2 if _WIDTH == 8 else 4
ROWS: Final = 6
COLUMNS: Final = _WIDTH * _VECTORS
#: Columns of a sum of rows: enough sums for one addition not to wait for the last.
SPAN: Final = 2 * COLUMNS

_FLOAT = ir.FloatType()
_INT64 = ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, _WIDTH)


def in_panels(
    vectors: npt.NDArray[np.float32], width: int, fill: float = 0.0
) -> npt.NDArray[np.float32]:
    """Return vectors ``(n, dim)`` as ``(n_panels, dim, width)``, the last panel filled up."""
    n, dim = vectors.shape
    padded = np.full((-(-n // width) * width, dim), fill, dtype=np.float32)
    padded[:n] = vectors
    return np.ascontiguousarray(padded.reshape(-1, width, dim).transpose(0, 2, 1))


@_in_llvm
def score_panel(  # type: ignore[no-untyped-def]
    typing, users, first_user, items, first_item, dim, threshold, row, scores, passed
):
    """Score a panel; tell which scores reach their user's threshold.

    The vectors of ``users`` lie as ``(…, dim, ROWS)``, from ``first_user``; those of ``items`` as
    ``(…, dim, COLUMNS)``, from ``first_item``; dim is at least 1. The thresholds are read from
    ``row``. ``scores``, ``(ROWS * COLUMNS,)``, are written where any passed; ``passed``, uint64
    ``(ROWS,)``, holds a bit of each column. NaN never passes.

    Returns:
        Whether any passed, uint64, 0 or not.
    """
    signature = types.uint64(
        users, types.intp, items, types.intp, types.intp, threshold, types.intp, scores, passed
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int, offset: Any = None) -> Any:
            array = context.make_array(signature.args[place])(context, builder, args[place])
            return array.data if offset is None else builder.gep(array.data, [offset])

        product = Product(builder, data(0, args[1]), data(2, args[3]), args[4])
        any_passed = _int(0)
        limits, masks = data(5, args[6]), builder.bitcast(data(8), _INT64.as_pointer())
        for r, sums in enumerate(product.sums):
            limit = _splat(builder, builder.load(builder.gep(limits, [_int(r)])))
            mask = _mask(builder, sums, limit)
            builder.store(mask, builder.gep(masks, [_int(r)]))
            any_passed = builder.or_(any_passed, mask)
        with builder.if_then(builder.icmp_unsigned("!=", any_passed, _int(0))):
            for r, sums in enumerate(product.sums):
                _store(builder, sums, builder.gep(data(7), [_int(r * COLUMNS)]))
        return any_passed

    return signature, generate


@_in_llvm
def add_rectified(  # type: ignore[no-untyped-def]
    typing, kernel, first_unit, inputs, dim, bias, weight, unit, out
):
    """Add what ROWS units of a dense layer with relu say of COLUMNS inputs, each times its weight.

    The units' kernels lie as ``(…, dim, ROWS)``, from ``first_unit``; the inputs as
    ``(dim, COLUMNS)``; biases and weights are read from ``unit``; ``out`` is ``(COLUMNS,)``.
    """
    signature = types.void(kernel, types.intp, inputs, types.intp, bias, weight, types.intp, out)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int, offset: Any = None) -> Any:
            array = context.make_array(signature.args[place])(context, builder, args[place])
            return array.data if offset is None else builder.gep(array.data, [offset])

        product = Product(builder, data(0, args[1]), data(2), args[3])
        biases, weights, zero = data(4, args[6]), data(5, args[6]), _zero()
        totals = _load(builder, data(7))
        for r, sums in enumerate(product.sums):
            bias, weight = (
                _splat(builder, builder.load(builder.gep(values, [_int(r)])))
                for values in (biases, weights)
            )
            for v, value in enumerate(sums):
                shifted = builder.fadd(value, bias)
                off = builder.fcmp_ordered("<", shifted, zero)  # not of a NaN
                rectified = builder.select(off, zero, shifted)
                totals[v] = builder.call(product.multiply_add, [rectified, weight, totals[v]])
        _store(builder, totals, data(7))
        return context.get_dummy_value()

    return signature, generate


@_in_llvm
def sum_rows(  # type: ignore[no-untyped-def]
    typing, matrix, first, width, rows, weights, begin, end, out
):
    """Write the weighted sum of some rows of a matrix, SPAN columns from ``first``.

    The matrix is flat, ``width`` columns to a row; ``rows[begin:end]``, int32, are summed.
    """
    signature = types.void(
        matrix, types.intp, types.intp, rows, weights, types.intp, types.intp, out
    )

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, args[place]).data

        width, begin, end = args[2], args[5], args[6]
        start = builder.gep(data(0), [args[1]])
        add = _multiply_add(builder)
        before = builder.block
        check, loop, after = (builder.append_basic_block(name) for name in ("more", "row", "sum"))
        builder.branch(check)
        builder.position_at_end(check)
        position = builder.phi(_INT64)
        sums = [builder.phi(_VECTOR) for _ in range(SPAN // _WIDTH)]
        builder.cbranch(builder.icmp_signed("<", position, end), loop, after)
        builder.position_at_end(loop)
        row = builder.sext(builder.load(builder.gep(data(3), [position])), _INT64)
        weight = _splat(builder, builder.load(builder.gep(data(4), [position])))
        values = _load(builder, builder.gep(start, [builder.mul(row, width)]), SPAN)
        position.add_incoming(begin, before)
        position.add_incoming(builder.add(position, _int(1)), loop)
        for total, value in zip(sums, values, strict=True):
            total.add_incoming(_zero(), before)
            total.add_incoming(builder.call(add, [weight, value, total]), loop)
        builder.branch(check)
        builder.position_at_end(after)
        _store(builder, sums, data(7))
        return context.get_dummy_value()

    return signature, generate


@_in_llvm
def reaching(typing, scores, first, threshold):  # type: ignore[no-untyped-def]
    """Return a bit, uint64, of each of COLUMNS scores that is at least the threshold."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        start = builder.gep(array.data, [args[1]])
        return _mask(builder, _load(builder, start), _splat(builder, args[2]))

    return types.uint64(scores, types.intp, types.float32), generate


@_in_llvm
def lowest_bit(typing, bits):  # type: ignore[no-untyped-def]
    """Return the position of the lowest bit that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


class Product:
    """The loop over the dimensions; `sums` are its vectors, one tuple per user."""

    def __init__(self, builder: Any, users: Any, items: Any, dim: Any) -> None:
        self.multiply_add = _multiply_add(builder)
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("dimension", "product"))
        builder.branch(loop)
        builder.position_at_end(loop)
        d = builder.phi(_INT64)
        sums = [[builder.phi(_VECTOR) for _ in range(_VECTORS)] for _ in range(ROWS)]
        item = _load(builder, builder.gep(items, [builder.mul(d, _int(COLUMNS))]))
        user = builder.gep(users, [builder.mul(d, _int(ROWS))])
        self.sums = []
        for r, row in enumerate(sums):
            factor = _splat(builder, builder.load(builder.gep(user, [_int(r)])))
            pairs = zip(item, row, strict=True)
            self.sums.append(
                tuple(builder.call(self.multiply_add, [factor, i, s]) for i, s in pairs)
            )
        following = builder.add(d, _int(1))
        d.add_incoming(_int(0), before)
        d.add_incoming(following, loop)
        for row, new in zip(sums, self.sums, strict=True):
            for old, value in zip(row, new, strict=True):
                old.add_incoming(_zero(), before)
                old.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, dim), loop, after)
        builder.position_at_end(after)


def _int(value: int) -> Any:
    return ir.Constant(_INT64, value)


def _multiply_add(builder: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        builder.module, kind, f"llvm.fmuladd.v{_WIDTH}f32"
    )


def _zero() -> Any:
    return ir.Constant(_VECTOR, [0.0] * _WIDTH)


def _splat(builder: Any, value: Any) -> Any:
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, value, _int(0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH)
    )


def _vector_at(builder: Any, place: Any) -> Any:
    return builder.bitcast(place, _VECTOR.as_pointer())


def _load(builder: Any, start: Any, columns: int = COLUMNS) -> list[Any]:
    """Return consecutive floats as vectors."""
    values = []
    for v in range(columns // _WIDTH):
        place = builder.gep(start, [_int(v * _WIDTH)])
        values.append(builder.load(_vector_at(builder, place)))
        values[-1].align = 4
    return values


def _store(builder: Any, values: Any, start: Any) -> None:
    """Write vectors as consecutive floats."""
    for v, value in enumerate(values):
        place = builder.gep(start, [_int(v * _WIDTH)])
        builder.store(value, _vector_at(builder, place)).align = 4


def _mask(builder: Any, values: Any, limit: Any) -> Any:
    """Return a bit for each of COLUMNS values, set where it is at least the limit and no NaN."""
    mask = _int(0)
    for v, value in enumerate(values):
        bits = builder.bitcast(builder.fcmp_ordered(">=", value, limit), ir.IntType(_WIDTH))
        mask = builder.or_(mask, builder.shl(builder.zext(bits, _INT64), _int(v * _WIDTH)))
    return mask
