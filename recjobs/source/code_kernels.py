"""A table of integers and their codes, in numba; imported where it runs.

A slot is a value and its code after 1, or 0 for none; a value is in the first one, from the slot
that it hashes to on, that has it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.memory import prefetch

#: Rows ahead of which a slot is fetched: the table is larger than the caches near by.
_EARLY: Final = 12

Ints = npt.NDArray[np.int64]


@compiled
def encode(
    values: Ints,
    lengths: npt.NDArray[np.int32],
    slots: Ints,
    ids: Ints,
    count: int,
    codes: npt.NDArray[np.int32],
) -> int:
    """Give each value its code, a new one the next, and return how many values there are now.

    Args:
        values: ``(n,)``.
        lengths: Below 0 for a null, ``(n,)``.
        slots: A power of two of them, with room, ``(n_slots, 2)``; changed in place.
        ids: Value by code, with room; changed in place.
        count: Values there were.
        codes: Filled, ``(n,)``; -1 for a null.
    """
    first = slots.ctypes.data
    for row in range(len(values)):
        later = values[min(row + _EARLY, len(values) - 1)]
        prefetch(first + 16 * (_hash(later) & (len(slots) - 1)))
        if lengths[row] < 0:
            codes[row] = -1
            continue
        slot = _slot(values[row], slots)
        if slots[slot, 1] == 0:
            ids[count] = values[row]
            count += 1
            slots[slot] = values[row], count
        codes[row] = slots[slot, 1] - 1
    return count


@compiled
def place(ids: Ints, slots: Ints) -> None:
    """Put distinct values, ``(n,)``, into empty slots, each by its position."""
    for code in range(len(ids)):
        slots[_slot(ids[code], slots)] = ids[code], code + 1


@compiled
def _slot(value: int, slots: Ints) -> int:
    """Return where a value is, or where it belongs."""
    slot = _hash(value) & (len(slots) - 1)
    while slots[slot, 1] != 0 and slots[slot, 0] != value:
        slot = (slot + 1) & (len(slots) - 1)
    return int(slot)


@compiled
def _hash(value: int) -> int:
    mixed = np.uint64(value) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(mixed >> np.uint64(32))  # type: ignore[return-value]
