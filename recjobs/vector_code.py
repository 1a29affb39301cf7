"""What `panels` are written with: vectors of the machine's width, loops, a panel's product."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any, Final

from llvmlite import ir
from numba.core import cgutils, codegen, config

# What numba compiles for, which may be less than this machine.
_SET = config.CPU_FEATURES  # type: ignore[attr-defined]
_HOST = codegen.get_host_cpu_features()  # type: ignore[no-untyped-call]
_FEATURES = (_HOST if _SET is None else _SET).split(",")
#: Floats of a vector register; 6 x 4 of them hold a panel's sums where there are 32, else 6 x 2.
WIDTH: Final = 16 if "+avx512bw" in _FEATURES else 8 if "+avx2" in _FEATURES else 4
VECTORS: Final = 2 if WIDTH == 8 else 4
ROWS: Final = 6
COLUMNS: Final = WIDTH * VECTORS
#: Columns of a sum of rows: enough sums for one addition not to wait for the last.
SPAN: Final = 2 * COLUMNS
#: Products that are computed at a time, each of them a chain: enough to keep the adders busy.
CHAINS: Final = 8

FLOAT = ir.FloatType()
INT64 = ir.IntType(64)
PAIR = ir.IntType(32)
FLOATS = ir.VectorType(FLOAT, WIDTH)
PAIRS = ir.VectorType(PAIR, WIDTH)
HALVES = ir.VectorType(ir.IntType(16), 2 * WIDTH)
#: Two products and their sum, of int16 into int32: an instruction where there is one.
_PAIRWISE: Final = {
    (True, 16): "llvm.x86.avx512.pmaddw.d.512",
    (True, 8): "llvm.x86.avx2.pmadd.wd",
    (True, 4): "llvm.x86.sse2.pmadd.wd",
}.get((platform.machine() in ("x86_64", "AMD64"), WIDTH))


class Product:
    """The loop over the dimensions; `sums` are its vectors, one tuple per row.

    Args:
        builder: Where it is written.
        left: The rows' vectors, ``(dim, ROWS)``.
        right: The columns' vectors, ``(dim, COLUMNS)``.
        dim: Of both; at least 1.
        starts: What a row's sums start from; their type says of what the vectors are.
    """

    def __init__(self, builder: Any, left: Any, right: Any, dim: Any, starts: list[Any]) -> None:
        kind = starts[0].type
        add = multiply_add(builder) if kind == FLOATS else _multiply_pairs(builder)

        def step(d: Any, sums: list[Any]) -> list[Any]:
            columns = load(
                builder, builder.gep(right, [builder.mul(d, integer(COLUMNS))]), kind=kind
            )
            row = builder.gep(left, [builder.mul(d, integer(ROWS))])
            new = []
            for r in range(ROWS):
                factor = splat(builder, builder.load(builder.gep(row, [integer(r)])))
                olds = sums[r * VECTORS : (r + 1) * VECTORS]
                new += [add(factor, c, old) for c, old in zip(columns, olds, strict=True)]
            return new

        sums = loop(builder, dim, [start for start in starts for _ in range(VECTORS)], step)
        self.sums = [tuple(sums[r * VECTORS : (r + 1) * VECTORS]) for r in range(ROWS)]


def loop(
    builder: Any, times: Any, starts: list[Any], step: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """Write a loop that runs at least once; return what its values are in the end."""
    before = builder.block
    body, after = (builder.append_basic_block(name) for name in ("step", "done"))
    builder.branch(body)
    builder.position_at_end(body)
    position = builder.phi(INT64)
    olds = [builder.phi(start.type) for start in starts]
    news = step(position, olds)
    following = builder.add(position, integer(1))
    for old, start, new in zip(
        [position, *olds], [integer(0), *starts], [following, *news], strict=True
    ):
        old.add_incoming(start, before)
        old.add_incoming(new, body)
    builder.cbranch(builder.icmp_signed("<", following, times), body, after)
    builder.position_at_end(after)
    return news


def integer(value: int) -> Any:
    """Return a constant of 64 bits."""
    return ir.Constant(INT64, value)


def multiply_add(builder: Any) -> Callable[[Any, Any, Any], Any]:
    """Return what adds the product of two vectors to a third, rounded once where there is FMA."""
    return function(builder, f"llvm.fmuladd.v{WIDTH}f32", FLOATS, [FLOATS] * 3)


def _multiply_pairs(builder: Any) -> Callable[[Any, Any, Any], Any]:
    """Return what adds both products of pairs to a third vector, of int32."""
    if _PAIRWISE is not None:
        call = function(builder, _PAIRWISE, PAIRS, [HALVES] * 2)
        return lambda factor, value, total: builder.add(
            total, call(*(builder.bitcast(pairs, HALVES) for pairs in (factor, value)))
        )
    sixteen = splat(builder, ir.Constant(PAIR, 16))

    def halves(pairs: Any) -> tuple[Any, Any]:
        low = builder.ashr(builder.shl(pairs, sixteen), sixteen)
        return low, builder.ashr(pairs, sixteen)

    def multiply(factor: Any, value: Any, total: Any) -> Any:
        for one, other in zip(halves(factor), halves(value), strict=True):
            total = builder.add(total, builder.mul(one, other))
        return total

    return multiply


def function(builder: Any, name: str, returns: Any, takes: list[Any]) -> Callable[..., Any]:
    """Return what calls a function of LLVM's own."""
    intrinsic = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
        builder.module, ir.FunctionType(returns, takes), name
    )
    return lambda *args: builder.call(intrinsic, args)


def zeros(kind: Any) -> Any:
    """Return a vector of 0."""
    return ir.Constant(kind, [0] * WIDTH)


def splat(builder: Any, value: Any) -> Any:
    """Return a vector of one value."""
    nothing = ir.Constant(ir.VectorType(value.type, WIDTH), ir.Undefined)
    one = builder.insert_element(nothing, value, integer(0))
    return builder.shuffle_vector(one, nothing, zeros(PAIRS))


def load(builder: Any, start: Any, columns: int = COLUMNS, kind: Any = FLOATS) -> list[Any]:
    """Return consecutive values as vectors."""
    values = []
    for v in range(columns // WIDTH):
        place = builder.gep(start, [integer(v * WIDTH)])
        values.append(builder.load(builder.bitcast(place, kind.as_pointer())))
        values[-1].align = 4
    return values


def store(builder: Any, values: Any, start: Any) -> None:
    """Write vectors as consecutive values."""
    for v, value in enumerate(values):
        place = builder.bitcast(builder.gep(start, [integer(v * WIDTH)]), value.type.as_pointer())
        builder.store(value, place).align = 4


def mask_of(builder: Any, flags: Any) -> Any:
    """Return a bit for each of COLUMNS flags."""
    mask = integer(0)
    for v, flag in enumerate(flags):
        bits = builder.zext(builder.bitcast(flag, ir.IntType(WIDTH)), INT64)
        mask = builder.or_(mask, builder.shl(bits, integer(v * WIDTH)))
    return mask
