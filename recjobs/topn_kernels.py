"""The inner loops of `topn`, in numba.

What reaches a user's n-th best so far goes to a buffer; a full one is cut to its n best. A score
and its item make one int64 that orders like (score, smaller item first).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.panels import COLUMNS, ROWS, lowest_bit, reaching, score_panel

#: Panels' columns between looks at whose search is over.
_LOOK: Final = 8
#: More than what rounding next to zero adds to a score, 2^-149 for each dimension.
_TINY: Final = 1e-37
#: The most keys that are ordered by counting.
_COUNTED: Final = 256
_LEAST: Final = np.finfo(np.float32).min
_NO_KEY: Final = np.iinfo(np.int64).min
_MINUS_ZERO: Final = np.iinfo(np.int32).min
_ITEMS: Final = 0xFFFFFFFF


@compiled
def rank_panels(
    vectors: npt.NDArray[np.float32],
    panels: npt.NDArray[np.float32],
    longest: npt.NDArray[np.float64],
    item_of: npt.NDArray[np.int32],
    column_of: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    best_item: npt.NDArray[np.int32],
    best_score: npt.NDArray[np.float32],
) -> int:
    """Find each user's best unseen items; panels are visited by falling length of their vectors.

    Args:
        vectors: Of all users, ``(n_users, dim)``.
        panels: Vectors of the items, ``(n_panels, dim, COLUMNS)``, flat; NaN where there is none.
        longest: What no score of this panel or a later one exceeds, per length of the user's
            vector, ``(n_panels,)``.
        item_of: The item of each column, ``(n_columns,)``.
        column_of: The column of each item, ``(n_items,)``; -1 for one without.
        users: The user of each row, ``(n_rows,)``.
        indptr: Of the seen items, ``(n_users + 1,)``.
        indices: The seen items.
        best_item: ``(n_rows, n)``, -1; filled in place.
        best_score: ``(n_rows, n)``, -inf; filled in place.

    Returns:
        How many products of panels were computed.
    """
    n_rows, n = best_item.shape
    n_panels, dim = len(longest), vectors.shape[1]
    left, length = _pack(vectors, users)
    seen = _bits_of_seen(users, indptr, indices, column_of, n_panels)
    keys = np.empty((n_rows, n + max(n, COLUMNS)), dtype=np.int64)
    count = np.zeros(n_rows, dtype=np.int64)
    least = np.full(n_rows, _NO_KEY, dtype=np.int64)
    # Nothing reaches the threshold of a row that is none.
    threshold = np.full(len(left) // dim, np.inf, dtype=np.float32)
    threshold[:n_rows] = _LEAST
    threshold_bits = threshold.view(np.int32)
    scores = np.empty(ROWS * COLUMNS, dtype=np.float32)
    score_bits = scores.view(np.int32)
    passed = np.empty(ROWS, dtype=np.uint64)
    searching = np.arange(len(threshold) // ROWS)
    n_searching = len(searching)
    computed = 0
    for panel in range(n_panels):
        if panel % _LOOK == 0:
            n_searching = _still_searching(
                searching, n_searching, length, longest[panel], threshold[:n_rows]
            )
        computed += n_searching
        for group in searching[:n_searching]:
            first = group * ROWS
            if not score_panel(
                left, first * dim, panels, panel * dim * COLUMNS, dim,
                threshold, first, scores, passed,
            ):  # fmt: skip
                continue
            for row in range(first, min(first + ROWS, n_rows)):
                bits = passed[row - first] & ~seen[panel, row]
                while bits:
                    column = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    key = _key(
                        score_bits[(row - first) * COLUMNS + column],
                        item_of[panel * COLUMNS + column],
                    )
                    if key > least[row]:
                        if count[row] == keys.shape[1]:
                            least[row] = _keep_largest(keys[row], n)
                            count[row] = n
                            threshold_bits[row] = _score_bits(least[row])
                        keys[row, count[row]] = key
                        count[row] += 1
    for row in range(n_rows):
        _write_best(keys[row, : count[row]], best_item[row], best_score[row])
    return computed


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
        threshold = np.full(1, _LEAST, dtype=np.float32)
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
                key = _key(line[column : column + 1].view(np.int32)[0], column)
                if allowed[column] and key > least:
                    if count == len(keys):
                        least = _keep_largest(keys, n)
                        count = n
                        threshold.view(np.int32)[0] = _score_bits(least)
                    keys[count] = key
                    count += 1
        _write_best(keys[:count], best_item[row], best_score[row])


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
def _pack(
    vectors: npt.NDArray[np.float32], users: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return the users' vectors as ``(n_groups, dim, ROWS)``, flat, and their lengths."""
    dim = vectors.shape[1]
    n_groups = (len(users) + ROWS - 1) // ROWS
    left = np.zeros(n_groups * dim * ROWS, dtype=np.float32)
    length = np.empty(len(users), dtype=np.float64)
    for row in range(len(users)):
        square = 0.0
        for d in range(dim):
            value = vectors[users[row], d]
            left[(row // ROWS * dim + d) * ROWS + row % ROWS] = value
            square += np.float64(value) * np.float64(value)
        length[row] = np.sqrt(square)
    return left, length


@compiled
def _bits_of_seen(
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    column_of: npt.NDArray[np.int32],
    n_panels: int,
) -> npt.NDArray[np.uint64]:
    """Return a bit for each column of the users, ``(n_panels, n_rows)`` and some more."""
    # Not a power of 2 from panel to panel, or one user's bits would share a few lines of the cache.
    seen = np.zeros((n_panels, len(users) + 8), dtype=np.uint64)
    line = np.zeros(n_panels, dtype=np.uint64)
    for row in range(len(users)):
        line[:] = 0
        for position in range(indptr[users[row]], indptr[users[row] + 1]):
            column = column_of[indices[position]]
            if column >= 0:
                line[column // COLUMNS] |= np.uint64(1) << np.uint64(column % COLUMNS)
        for panel in range(n_panels):
            seen[panel, row] = line[panel]
    return seen


@compiled
def _still_searching(
    searching: npt.NDArray[np.int64],
    n_searching: int,
    length: npt.NDArray[np.float64],
    longest: float,
    threshold: npt.NDArray[np.float32],
) -> int:
    """Keep the groups that have a user for whom something may come yet; return how many."""
    kept = 0
    for group in searching[:n_searching]:
        for row in range(group * ROWS, min(group * ROWS + ROWS, len(length))):
            if not length[row] * longest + _TINY < threshold[row]:  # a NaN may come to anything
                searching[kept] = group
                kept += 1
                break
    return kept


@compiled
def _key(score_bits: int, item: int) -> int:
    """Return what orders like the score, then like the smaller item; -0.0 is 0.0."""
    bits = np.int32(0) if score_bits == _MINUS_ZERO else np.int32(score_bits)
    order = np.int64(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    return int((order << 32) | (_ITEMS - np.int64(item)))


@compiled
def _score_bits(key: int) -> int:
    order = np.int32(key >> 32)
    return int(np.int32(order ^ ((order >> 31) & 0x7FFFFFFF)))


@compiled
def _keep_largest(keys: npt.NDArray[np.int64], n: int) -> int:
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
            key = keys[position]
            keys[position] = keys[place]
            keys[place] = key
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
def _write_best(
    keys: npt.NDArray[np.int64],
    best_item: npt.NDArray[np.int32],
    best_score: npt.NDArray[np.float32],
) -> None:
    """Write the largest keys as items and scores, best first."""
    n = len(best_item)
    if len(keys) > n:
        _keep_largest(keys, n)
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
        best_item[rank] = np.int32(_ITEMS - (key & _ITEMS))
        bits[rank] = _score_bits(key)
