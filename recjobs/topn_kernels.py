"""The n best of rows of scores, in numba; and the keys that order them.

What reaches a row's n-th best so far goes to a buffer; a full one is cut to its n best. A score and
its item make one int64 that orders like (score, smaller item first).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.panels import COLUMNS, lowest_bit, reaching

#: The least score that is one: -inf and NaN are not.
LEAST: Final = np.finfo(np.float32).min
#: What of a key is the item, in the order of falling items.
ITEMS: Final = 0xFFFFFFFF
#: The most keys that are ordered by counting.
_COUNTED: Final = 256
_NO_KEY: Final = np.iinfo(np.int64).min
_MINUS_ZERO: Final = np.iinfo(np.int32).min


@compiled
def keep_best(
    scores: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    best_item: npt.NDArray[np.int32],
    best_score: npt.NDArray[np.float32],
) -> None:
    """Find the best columns of each row; -inf and NaN are never among them.

    Args:
        scores: ``(n_rows, n_columns)``, contiguous.
        allowed: Which columns may be found, ``(n_columns,)``.
        best_item: ``(n_rows, n)``, -1; filled in place.
        best_score: ``(n_rows, n)``, -inf; filled in place.
    """
    n = best_item.shape[1]
    width = scores.shape[1]
    keys = np.empty(n + max(n, COLUMNS), dtype=np.int64)
    tail = np.full(COLUMNS, -np.inf, dtype=np.float32)
    for row in range(len(scores)):
        line = scores[row]
        threshold = np.full(1, LEAST, dtype=np.float32)
        least = _NO_KEY
        count = 0
        for first in range(0, width, COLUMNS):
            part, start = line, first
            if first + COLUMNS > width:
                tail[: width - first] = line[first:]
                part, start = tail, 0
            bits = reaching(part, start, threshold[0])
            while bits:
                column = first + lowest_bit(bits)
                bits &= bits - np.uint64(1)
                key = key_of(line[column : column + 1].view(np.int32)[0], column)
                if allowed[column] and key > least:
                    if count == len(keys):
                        least = keep_largest(keys, n)
                        count = n
                        threshold.view(np.int32)[0] = score_bits(least)
                    keys[count] = key
                    count += 1
        write_best(keys[:count], best_item[row], best_score[row])


@compiled
def blank_seen(
    scores: npt.NDArray[np.float32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
) -> None:
    """Set the scores of seen items to -inf, in place.

    Args:
        scores: ``(n_rows, n_items)``.
        users: The user of each row, ``(n_rows,)``.
        indptr: Of the seen items, ``(n_users + 1,)``.
        indices: The seen items.
    """
    for row in range(len(users)):
        for position in range(indptr[users[row]], indptr[users[row] + 1]):
            scores[row, indices[position]] = -np.inf


@compiled
def key_of(score_bits: int, item: int) -> int:
    """Return what orders like the score, then like the smaller item; -0.0 is 0.0."""
    bits = np.int32(0) if score_bits == _MINUS_ZERO else np.int32(score_bits)
    order = np.int64(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    return int((order << 32) | (ITEMS - np.int64(item)))


@compiled
def score_bits(key: int) -> int:
    """Return the bits of a key's score, as int32."""
    order = np.int32(key >> 32)
    return int(np.int32(order ^ ((order >> 31) & 0x7FFFFFFF)))


@compiled
def keep_largest(keys: npt.NDArray[np.int64], n: int) -> int:
    """Move the n largest to the front, in no order; return the least of them.

    Hoare's quickselect, with the partition of Lomuto written without a branch.
    """
    low, high = 0, len(keys) - 1
    while low < high:
        middle = (low + high) // 2
        a, b, c = keys[low], keys[middle], keys[high]
        if (a < b) == (b < c):
            keys[middle], keys[high] = c, b
        elif (b < a) == (a < c):
            keys[low], keys[high] = c, a
        pivot = keys[high]
        place = low
        for position in range(low, high):
            # Unsigned, or every access would look for an index from the end.
            key = keys[np.uint64(position)]
            keys[np.uint64(position)] = keys[np.uint64(place)]
            keys[np.uint64(place)] = key
            place += key > pivot
        keys[high] = keys[place]
        keys[place] = pivot
        if place < n - 1:
            low = place + 1
        elif place > n - 1:
            high = place - 1
        else:
            break
    return int(keys[n - 1])


@compiled
def write_best(
    keys: npt.NDArray[np.int64],
    best_item: npt.NDArray[np.int32],
    best_score: npt.NDArray[np.float32],
) -> None:
    """Write the largest keys as items and scores, best first."""
    n = len(best_item)
    if len(keys) > n:
        keep_largest(keys, n)
    kept = keys[:n]
    bits = best_score.view(np.int32)
    if len(kept) > _COUNTED:
        kept.sort()
    for place in range(len(kept)):
        key, rank = kept[place], len(kept) - 1 - place
        if len(kept) <= _COUNTED:  # no two are equal, and counting is one vector loop
            rank = 0
            for other in range(len(kept)):
                rank += kept[other] > key
        best_item[rank] = np.int32(ITEMS - (key & ITEMS))
        bits[rank] = score_bits(key)
