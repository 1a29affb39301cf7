"""Fields of COPY BINARY put into rows, in numba.

A column is handed over as its values' bytes one after the other; of a list, its elements'. Imported
where it runs, for the import takes a while.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.memory import copy, copy4, copy8, put_number, swap4, swap8

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@compiled
def put_values(at: Ints, ends: Ints, data: int, known: Bools) -> None:
    """Put a field into each row: its length, then its bytes.

    Args:
        at: The address where each row goes on, ``(n_rows,)``; moved behind the field.
        ends: Where each value ends in ``data``, after a 0, ``(n_rows + 1,)``; a null is empty.
        data: Address of the values' bytes.
        known: False for a null, ``(n_rows,)``.
    """
    for row in range(len(at)):
        at[row] = _put(at[row], data + ends[row], ends[row + 1] - ends[row], known[row])


@compiled
def put_numbers(at: Ints, width: int, data: int, known: Bools) -> None:
    """As `put_values`, of numbers in this machine's own order of bytes, the lowest first.

    Args:
        at: As there.
        width: Bytes of a number: 1, 4 or 8.
        data: Address of the numbers, those of a null among them.
        known: As there.
    """
    for row in range(len(at)):
        at[row] = _put_one(at[row], data + width * row, width, known[row])


@compiled
def put_lists(
    at: Ints,
    sizes: Ints,
    heads: npt.NDArray[np.int32],
    bounds: Ints,
    ends: Ints,
    data: int,
    known: Bools,
) -> None:
    """Put an array into each row: its length, its head, then its elements as fields.

    Args:
        at: The address where each row goes on, ``(n_rows,)``; moved behind the field.
        sizes: Bytes of each array, ``(n_rows,)``; -1 for a null.
        heads: Numbers before the elements: dimensions, has-nulls, OID, then where there is an
            element how many there are and the lower bound, ``(n_rows, 5)``.
        bounds: The first element of each row, and the number of all, ``(n_rows + 1,)``.
        ends: Where each element ends in ``data``, after a 0, ``(n_elements + 1,)``.
        data: Address of the elements' bytes.
        known: False for an element that is null, ``(n_elements,)``.
    """
    for row in range(len(at)):
        place = _put_head(at[row], sizes[row], heads[row])
        for each in range(bounds[row], bounds[row + 1]):
            place = _put(place, data + ends[each], ends[each + 1] - ends[each], known[each])
        at[row] = place


@compiled
def put_number_lists(
    at: Ints,
    sizes: Ints,
    heads: npt.NDArray[np.int32],
    bounds: Ints,
    width: int,
    data: int,
    known: Bools,
) -> None:
    """As `put_lists`, of numbers as `put_numbers` has them."""
    for row in range(len(at)):
        place = _put_head(at[row], sizes[row], heads[row])
        for each in range(bounds[row], bounds[row + 1]):
            place = _put_one(place, data + width * each, width, known[each])
        at[row] = place


@compiled
def _put_one(place: int, origin: int, width: int, known: bool) -> int:
    put_number(place, width if known else -1)
    if not known:
        return place + 4
    if width == 8:
        swap8(place + 4, origin)
    elif width == 4:
        swap4(place + 4, origin)
    else:
        copy(place + 4, origin, width)
    return place + 4 + width


@compiled
def _put_head(place: int, size: int, head: npt.NDArray[np.int32]) -> int:
    put_number(place, size)
    place += 4
    if size >= 0:
        for number in range(5 if head[0] else 3):  # an empty array has no dimension
            put_number(place, head[number])
            place += 4
    return place


@compiled
def _put(place: int, origin: int, length: int, known: bool) -> int:
    put_number(place, length if known else -1)
    if length == 8:
        copy8(place + 4, origin)
    elif length == 4:
        copy4(place + 4, origin)
    else:
        copy(place + 4, origin, length)
    return place + 4 + length
