"""Panels of products, written in LLVM, for numba's loops to call.

A panel is `ROWS` vectors times `COLUMNS` of them: small enough for its sums to stay in registers,
where they are compared with a limit of each row, or summed up; only what passes is ever stored.
Vectors are of float32, each product one chain of multiply-adds over the dimensions in their order,
so that it is the same bits wherever the pair stands; or of int16 in pairs, which count as one
int32: twice as many products in the same time.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from recjobs.vector_code import (
    CHAINS,
    COLUMNS,
    FLOAT,
    FLOATS,
    HALVES,
    INT64,
    PAIRS,
    ROWS,
    SPAN,
    WIDTH,
    Product,
    function,
    integer,
    load,
    loop,
    mask_of,
    multiply_add,
    splat,
    store,
    zeros,
)

__all__ = ["CHAINS", "COLUMNS", "ROWS", "SPAN"]

_in_llvm: Any = intrinsic  # numba types what it decorates

_V = TypeVar("_V", np.float32, np.int32)


def in_panels(vectors: npt.NDArray[_V], width: int) -> npt.NDArray[_V]:
    """Return vectors ``(n, dim)`` as ``(n_panels, dim, width)``, the last panel filled up by 0."""
    n, dim = vectors.shape
    padded = np.zeros((-(-n // width) * width, dim), dtype=vectors.dtype)
    padded[:n] = vectors
    return np.ascontiguousarray(padded.reshape(-1, width, dim).transpose(0, 2, 1))


def in_pairs(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """Return whole numbers ``(n, dim)`` as int16 in pairs, int32 ``(n, (dim + 1) // 2)``.

    What is no number is 0.
    """
    n, dim = vectors.shape
    padded = np.zeros((n, dim + dim % 2), dtype=np.int16)
    padded[:, :dim] = np.nan_to_num(vectors, nan=0, posinf=0, neginf=0)
    return padded.view(np.int32)


@_in_llvm
def score_panel(  # type: ignore[no-untyped-def]
    typing, users, first_user, items, first_item, dim, limits, row, scores, passed
):
    """Score a panel; tell which scores reach their user's limit.

    The vectors of ``users`` lie as ``(…, dim, ROWS)``, from ``first_user``; those of ``items`` as
    ``(…, dim, COLUMNS)``, from ``first_item``; dim is at least 1. They are of float32, or of pairs,
    and so are the limits, read from ``row``. Where any score passed, ``scores`` are written,
    ``(ROWS * COLUMNS,)``, those of pairs less the limit, which must not overflow; and ``passed``,
    uint64 ``(ROWS,)``, takes a bit of each column. NaN never passes.

    Returns:
        Whether any passed.
    """
    signature = types.boolean(
        users, types.intp, items, types.intp, types.intp, limits, types.intp, scores, passed
    )
    whole = users.dtype == types.int32

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int, offset: Any = None) -> Any:
            array = context.make_array(signature.args[place])(context, builder, args[place])
            return array.data if offset is None else builder.gep(array.data, [offset])

        zero, first = zeros(PAIRS if whole else FLOATS), data(5, args[6])
        limits = [
            splat(builder, builder.load(builder.gep(first, [integer(r)]))) for r in range(ROWS)
        ]
        starts = [builder.neg(limit) if whole else zero for limit in limits]
        product = Product(builder, data(0, args[1]), data(2, args[3]), args[4], starts)
        if whole:  # by the signs: fewer instructions than to compare each
            rows = [[builder.icmp_signed(">=", v, zero) for v in sums] for sums in product.sums]
            below = functools.reduce(builder.and_, itertools.chain(*product.sums))
            some = builder.icmp_signed(">=", below, zero)
        else:
            pairs = zip(product.sums, limits, strict=True)
            rows = [[builder.fcmp_ordered(">=", v, limit) for v in sums] for sums, limit in pairs]
            some = functools.reduce(builder.or_, itertools.chain(*rows))
        any_passed = builder.icmp_unsigned(
            "!=", builder.bitcast(some, ir.IntType(WIDTH)), ir.Constant(ir.IntType(WIDTH), 0)
        )
        with builder.if_then(any_passed):
            masks = builder.bitcast(data(8), INT64.as_pointer())
            for r, (sums, flags) in enumerate(zip(product.sums, rows, strict=True)):
                store(builder, sums, builder.gep(data(7), [integer(r * COLUMNS)]))
                builder.store(mask_of(builder, flags), builder.gep(masks, [integer(r)]))
        return any_passed

    return signature, generate


@_in_llvm
def dot_products(  # type: ignore[no-untyped-def]
    typing, user, items, dim, rows, first, out
):
    """Write the products of a vector with CHAINS rows of a matrix, each one chain of multiply-adds.

    The matrix is flat, ``dim`` columns to a row, of which there is at least one; ``rows``, the low
    halves of int64, are read from ``first``; ``out``, float32, is ``(CHAINS,)``.
    """
    signature = types.void(user, items, types.intp, rows, types.intp, out)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, args[place]).data

        dim, places = args[2], builder.gep(data(3), [args[4]])
        starts = []
        for c in range(CHAINS):
            row = builder.load(builder.gep(places, [integer(c)]))
            row = builder.and_(row, integer(0xFFFFFFFF))
            starts.append(builder.gep(data(1), [builder.mul(row, dim)]))
        add = function(builder, "llvm.fmuladd.f32", FLOAT, [FLOAT] * 3)
        user = data(0)

        def step(d: Any, sums: list[Any]) -> list[Any]:
            factor = builder.load(builder.gep(user, [d]))
            values = [builder.load(builder.gep(start, [d])) for start in starts]
            return [add(factor, value, total) for value, total in zip(values, sums, strict=True)]

        for c, total in enumerate(loop(builder, dim, [ir.Constant(FLOAT, 0.0)] * CHAINS, step)):
            builder.store(total, builder.gep(data(5), [integer(c)]))
        return context.get_dummy_value()

    return signature, generate


@_in_llvm
def add_clipped(typing, columns, first, row, n_pairs, out):  # type: ignore[no-untyped-def]
    """Write the sums of a row's pairs and of COLUMNS columns', where they are above 0, else 0.

    The columns lie as ``(…, n_pairs, COLUMNS)``, from ``first``; ``row`` is ``(n_pairs,)``, at
    least 1 long; ``out`` is ``(n_pairs, COLUMNS)``, flat. No sum may overflow int16.
    """
    signature = types.void(columns, types.intp, row, types.intp, out)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, args[place]).data

        start, row, out = builder.gep(data(0), [args[1]]), data(2), data(4)
        zero = ir.Constant(HALVES, [0] * (2 * WIDTH))

        def step(d: Any, _: list[Any]) -> list[Any]:
            place = builder.mul(d, integer(COLUMNS))
            added = builder.bitcast(splat(builder, builder.load(builder.gep(row, [d]))), HALVES)
            sums = []
            for values in load(builder, builder.gep(start, [place]), kind=PAIRS):
                total = builder.add(builder.bitcast(values, HALVES), added)
                above = builder.select(builder.icmp_signed(">", total, zero), total, zero)
                sums.append(builder.bitcast(above, PAIRS))
            store(builder, sums, builder.gep(out, [place]))
            return []

        loop(builder, args[3], [], step)
        return context.get_dummy_value()

    return signature, generate


@_in_llvm
def add_rectified(  # type: ignore[no-untyped-def]
    typing, kernel, first_unit, inputs, dim, bias, weight, unit, out
):
    """Add what ROWS units of a dense layer with relu say of COLUMNS inputs, each times its weight.

    The units' kernels lie as ``(…, dim, ROWS)``, from ``first_unit``; the inputs as
    ``(dim, COLUMNS)``, both of float32 or both in pairs; biases and weights, float32, are read from
    ``unit``; ``out`` is ``(COLUMNS,)``.
    """
    signature = types.void(kernel, types.intp, inputs, types.intp, bias, weight, types.intp, out)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int, offset: Any = None) -> Any:
            array = context.make_array(signature.args[place])(context, builder, args[place])
            return array.data if offset is None else builder.gep(array.data, [offset])

        whole = kernel.dtype == types.int32
        starts = [zeros(PAIRS if whole else FLOATS)] * ROWS
        product = Product(builder, data(0, args[1]), data(2), args[3], starts)
        biases, weights, zero = data(4, args[6]), data(5, args[6]), zeros(FLOATS)
        totals, add = load(builder, data(7)), multiply_add(builder)
        for r, sums in enumerate(product.sums):
            bias, weight = (
                splat(builder, builder.load(builder.gep(values, [integer(r)])))
                for values in (biases, weights)
            )
            for v, value in enumerate(sums):
                value = builder.sitofp(value, FLOATS) if whole else value
                shifted = builder.fadd(value, bias)
                off = builder.fcmp_ordered("<", shifted, zero)  # not of a NaN
                rectified = builder.select(off, zero, shifted)
                totals[v] = add(rectified, weight, totals[v])
        store(builder, totals, data(7))
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
        add = multiply_add(builder)
        before = builder.block
        check, body, after = (builder.append_basic_block(name) for name in ("more", "row", "sum"))
        builder.branch(check)
        builder.position_at_end(check)
        position = builder.phi(INT64)
        sums = [builder.phi(FLOATS) for _ in range(SPAN // WIDTH)]
        builder.cbranch(builder.icmp_signed("<", position, end), body, after)
        builder.position_at_end(body)
        row = builder.sext(builder.load(builder.gep(data(3), [position])), INT64)
        weight = splat(builder, builder.load(builder.gep(data(4), [position])))
        values = load(builder, builder.gep(start, [builder.mul(row, width)]), SPAN)
        position.add_incoming(begin, before)
        position.add_incoming(builder.add(position, integer(1)), body)
        for total, value in zip(sums, values, strict=True):
            total.add_incoming(zeros(FLOATS), before)
            total.add_incoming(add(weight, value, total), body)
        builder.branch(check)
        builder.position_at_end(after)
        store(builder, sums, data(7))
        return context.get_dummy_value()

    return signature, generate


@_in_llvm
def reaching(typing, scores, first, threshold):  # type: ignore[no-untyped-def]
    """Return a bit, uint64, of each of COLUMNS scores that is at least the threshold."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        start = builder.gep(array.data, [args[1]])
        limit = splat(builder, args[2])
        values = load(builder, start)
        return mask_of(builder, [builder.fcmp_ordered(">=", value, limit) for value in values])

    return types.uint64(scores, types.intp, types.float32), generate


@_in_llvm
def lowest_bit(typing, bits):  # type: ignore[no-untyped-def]
    """Return the position of the lowest bit that is set; there must be one."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate
