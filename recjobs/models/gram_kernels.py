"""Rows of the item-item Gram matrix, summed or counted, and cosines of them, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs import memory
from recjobs.kernels import compiled
from recjobs.models.bit_counts import COLUMNS, GROUP, GROUPS, WORDS, add_bits

#: Entries of a row that are fetched ahead, and of a line of the cache.
FETCHED, LINE = 512, 16
#: Items whose counts are turned from columns into rows at a time, and rows of a tile of them.
_ITEMS, _TILE = 16, 32


@compiled
def gram_rows(
    items: npt.NDArray[np.int32],
    item_indptr: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.int32],
    item_weight: npt.NDArray[np.float32],
    user_indptr: npt.NDArray[np.int64],
    user_items: npt.NDArray[np.int32],
    user_weight: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the rows of some items of X'X into ``out``, ``(len(items), n_items)``.

    X is given twice: by columns (``item_…``) and by rows (``user_…``). A user's row is asked for
    while the one but one before it is added.
    """
    for place in range(len(items)):
        row = out[place]
        row[:] = 0
        end = item_indptr[items[place] + 1]
        for p in range(item_indptr[items[place]], end):
            if p + 2 < end:
                begin = user_indptr[item_users[p + 2]]
                near = min(user_indptr[item_users[p + 2] + 1], begin + FETCHED)
                for q in range(begin, near, LINE):
                    memory.prefetch(user_items.ctypes.data + 4 * q)
                    memory.prefetch(user_weight.ctypes.data + 4 * q)
            user = item_users[p]
            weight = item_weight[p]
            # Unsigned, or every access would look for an index from the end.
            for q in range(np.uint64(user_indptr[user]), np.uint64(user_indptr[user + 1])):
                row[np.uint64(user_items[q])] += weight * user_weight[q]


@compiled
def additions(
    user_indptr: npt.NDArray[np.int64],
    user_items: npt.NDArray[np.int32],
    out: npt.NDArray[np.int64],
) -> None:
    """Add to ``out``, ``(n_items,)``, how many additions `gram_rows` makes for each item."""
    for user in range(len(user_indptr) - 1):
        begin, end = user_indptr[user], user_indptr[user + 1]
        for p in range(begin, end):
            out[user_items[p]] += end - begin


@compiled
def squares(
    whose: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    out: npt.NDArray[np.float64],
) -> None:
    """Add each weight's square to ``out``, ``(n,)``, where that is whose it is."""
    for p in range(len(whose)):
        out[whose[p]] += weight[p] * weight[p]


@compiled
def set_bits(
    items: npt.NDArray[np.int32],
    item_indptr: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.int32],
    bits: npt.NDArray[np.uint32],
) -> None:
    """Write who has which of at most COLUMNS items: a bit of each, WORDS words of each user.

    Args:
        items: Of the bits.
        item_indptr: ``(n_items + 1,)``.
        item_users: The users of each item.
        bits: ``((n_users + 1) * WORDS,)``; the last row, of nobody, stays empty.
    """
    bits[:] = 0
    for place in range(len(items)):
        bit = np.uint32(1 << (place & 31))
        for p in range(item_indptr[items[place]], item_indptr[items[place] + 1]):
            bits[item_users[p] * WORDS + (place >> 5)] |= bit


@compiled
def count_rows(
    item_indptr: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.int32],
    bits: npt.NDArray[np.uint32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the rows of some items of X'X, all of whose entries are 1.

    How many users an item shares with each of those is the sum of the rows of bits of its users.

    Args:
        item_indptr: ``(n_items + 1,)``.
        item_users: The users of each item.
        bits: Of `set_bits`.
        out: ``(len(items), n_items)``.
    """
    n_items, nobody = len(item_indptr) - 1, len(bits) // WORDS - 1
    counts = np.empty((_ITEMS, COLUMNS), dtype=np.int32)
    last = np.empty(GROUP, dtype=np.int32)
    for first in range(0, n_items, _ITEMS):
        here = min(_ITEMS, n_items - first)
        counts[:] = 0
        for i in range(here):
            begin, end = item_indptr[first + i], item_indptr[first + i + 1]
            while end - begin >= GROUP:
                groups = min((end - begin) // GROUP, GROUPS)
                add_bits(bits, item_users, begin, groups, counts[i])
                begin += groups * GROUP
            if begin < end:
                for p in range(GROUP):
                    last[p] = item_users[begin + p] if begin + p < end else nobody
                add_bits(bits, last, 0, 1, counts[i])
        for tile in range(0, len(out), _TILE):
            for i in range(here):
                for place in range(tile, min(tile + _TILE, len(out))):
                    out[place, first + i] = counts[i, place]


@compiled
def to_cosines(
    items: npt.NDArray[np.int32],
    gram: npt.NDArray[np.float32],
    length: npt.NDArray[np.float32],
    shrinkage: np.float32,
) -> None:
    """Turn rows of X'X into cosines; -inf where they are not above 0, and on the diagonal.

    Args:
        items: Whose rows they are, ``(n_rows,)``.
        gram: ``(n_rows, n)``; changed in place.
        length: The square root of the diagonal of X'X, ``(n,)``.
        shrinkage: Added to the product of the lengths; above 0.
    """
    for row in range(len(gram)):
        line, own = gram[row], length[items[row]]
        for other in range(len(length)):
            # Not by `/`: a check for 0 would keep this from being a vector loop.
            cosine = np.divide(line[other], own * length[other] + shrinkage)
            line[other] = cosine if line[other] > 0 else np.float32(-np.inf)
        line[items[row]] = -np.inf
