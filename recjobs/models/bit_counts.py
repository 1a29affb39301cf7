"""Sums of rows of bits, place by place, written in LLVM, for numba's loops to call.

A row is `COLUMNS` bits, a line of the cache. Rows are added sixteen at a time by carry-save adders
into planes, one for each power of two, which stay in registers: about four instructions add 512
bits to 512 sums.
Klarqvist, Muła and Lemire, "Efficient Computation of Positional Population Counts Using SIMD
Instructions", Concurrency and Computation: Practice and Experience 2021.
"""

from __future__ import annotations

from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from recjobs.vector_code import PAIR, PAIRS, WIDTH, integer, load, loop, store, zeros

_in_llvm: Any = intrinsic  # numba types what it decorates

#: Bits of a row, and words of 32 of them.
COLUMNS: Final = 512
WORDS: Final = COLUMNS // 32
#: Rows that are added at a time.
GROUP: Final = 16
_PLANES: Final = 12
#: As many groups as planes hold the sums of.
GROUPS: Final = 2**_PLANES // GROUP - 1


@_in_llvm
def add_bits(typing, bits, rows, first, groups, counts):  # type: ignore[no-untyped-def]
    """Add the bits of some rows to the counts of their places.

    Of uint32 ``bits``, flat, WORDS to a row, ``rows[first:first + groups * GROUP]``, int32, are
    added; ``groups`` is from 1 to GROUPS; ``counts`` is int32, ``(COLUMNS,)``, a word's lowest bit
    first.
    """
    signature = types.void(bits, rows, types.intp, types.intp, counts)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def data(place: int) -> Any:
            return context.make_array(signature.args[place])(context, builder, args[place]).data

        bits, rows = data(0), builder.gep(data(1), [args[2]])
        planes: Any = cgutils.alloca_once(  # type: ignore[no-untyped-call]
            builder, PAIR, size=_PLANES * WORDS
        )
        for first in range(0, WORDS, WIDTH):

            def step(group: Any, sums: list[Any], first: int = first) -> list[Any]:
                values = []
                for member in range(GROUP):
                    place = builder.add(builder.mul(group, integer(GROUP)), integer(member))
                    row = builder.sext(builder.load(builder.gep(rows, [place])), place.type)
                    word = builder.add(builder.mul(row, integer(WORDS)), integer(first))
                    values += load(builder, builder.gep(bits, [word]), WIDTH, PAIRS)
                return _added(builder, sums, values)

            for plane, total in enumerate(loop(builder, args[3], [zeros(PAIRS)] * _PLANES, step)):
                store(builder, [total], builder.gep(planes, [integer(plane * WORDS + first)]))
        for word in range(WORDS):
            _add_counts(builder, planes, word, data(4))
        return context.get_dummy_value()

    return signature, generate


def _added(builder: Any, planes: list[Any], values: list[Any]) -> list[Any]:
    """Return the planes of the sums and values; a pair of values leaves one carry, to the next."""
    sums = []
    for total in planes:
        carries = []
        for one, other in zip(values[::2], values[1::2], strict=False):
            odd = builder.xor(one, other)
            carries.append(builder.or_(builder.and_(one, other), builder.and_(odd, total)))
            total = builder.xor(odd, total)
        if len(values) == 1:
            carries.append(builder.and_(values[0], total))
            total = builder.xor(values[0], total)
        sums.append(total)
        values = carries
    return sums


def _add_counts(builder: Any, planes: Any, word: int, counts: Any) -> None:
    """Add what the planes say of a word's places to their counts."""
    kind = ir.VectorType(PAIR, 32)
    place = builder.bitcast(builder.gep(counts, [integer(word * 32)]), kind.as_pointer())
    total = builder.load(place)
    total.align = 4
    for plane in range(_PLANES):
        bits = builder.load(builder.gep(planes, [integer(plane * WORDS + word)]))
        flags = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 32))
        ones, none = ir.Constant(kind, [1 << plane] * 32), ir.Constant(kind, [0] * 32)
        total = builder.add(total, builder.select(flags, ones, none))
    builder.store(total, place).align = 4
