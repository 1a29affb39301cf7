"""The inner loops of `topn.FactorRanker`, in numba.

Vectors are rounded to whole numbers: twice as many are multiplied in the same time. How far such a
product may be from the score is known, so what falls short of the n-th best so far by more than
that is no candidate, and what is left in the end is scored in float32. Where rounding tells nothing
(too many scores are too near; lengths are 0, or beyond numbers), candidates are scored whenever
their buffer is full.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled
from recjobs.panels import CHAINS, COLUMNS, ROWS, dot_products, lowest_bit, score_panel
from recjobs.topn_kernels import ITEMS, LEAST, keep_largest, key_of, score_bits, write_best

#: The length of a user's rounded vector, and of the longest item's.
LENGTH: Final = 32_000
#: Beyond every product of these, rounding included; and no sum of two of it overflows.
_NEVER: Final = 1_050_000_000
#: Products of lengths between which float32 neither overflows nor comes near to its least numbers.
_SMALL: Final = 1e-30
_GREAT: Final = 1e38
#: More than what rounding next to zero adds to a score, 2^-149 for each dimension.
_TINY: Final = 1e-37
#: Panels' columns between looks at whose search is over.
_LOOK: Final = 8


@compiled
def rank_panels(
    vectors: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    panels: npt.NDArray[np.int32],
    longest: npt.NDArray[np.float64],
    error: int,
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
        vectors: Of the users, ``(n_rows, dim)``.
        items: Vectors of the columns, ``(n_columns, dim)``.
        panels: The same, rounded and in pairs, ``(n_panels, n_pairs, COLUMNS)``, flat; a vector as
            long as ``longest[0]`` is of `LENGTH`.
        longest: What no score of this panel or a later one exceeds, per length of the user's
            vector, ``(n_panels,)``.
        error: How far a product of rounded vectors of `LENGTH` may be from the score.
        item_of: The item of each column, ``(n_columns,)``.
        column_of: The column of each item, ``(n_items,)``; past the last panel for one without.
        users: The user of each row, ``(n_rows,)``.
        indptr: Of the seen items, ``(n_users + 1,)``.
        indices: The seen items.
        best_item: ``(n_rows, n)``, -1; filled in place.
        best_score: ``(n_rows, n)``, -inf; filled in place.

    Returns:
        How many products of panels were computed.
    """
    n_rows, n = best_item.shape
    n_panels, n_pairs = len(longest), (vectors.shape[1] + 1) // 2
    left, length = _pack(vectors)
    lengths = length * longest[0] if n_panels else length
    near = (lengths > _SMALL) & (lengths < _GREAT)
    seen = _bits_of_seen(users, indptr, indices, column_of, n_panels, len(item_of))
    # Keys of the first ones, which are scored; products and columns of the others.
    found = np.empty((n_rows, n + max(n, COLUMNS) + CHAINS), dtype=np.int64)
    full = found.shape[1] - CHAINS
    scored = np.zeros(n_rows, dtype=np.int64)
    count = np.zeros(n_rows, dtype=np.int64)
    threshold = np.full(n_rows, LEAST, dtype=np.float32)
    threshold_bits = threshold.view(np.int32)
    limit = np.full(len(left) // n_pairs, _NEVER, dtype=np.int32)  # of a row that is none
    limit[:n_rows] = -_NEVER
    above = np.empty(ROWS * COLUMNS, dtype=np.int32)
    passed = np.empty(ROWS, dtype=np.uint64)
    searching = np.arange(len(limit) // ROWS)
    n_searching = len(searching)
    computed = 0
    for panel in range(n_panels):
        if panel % _LOOK == 0:
            n_searching = _still_searching(
                searching, n_searching, length, longest[panel], threshold
            )
        computed += n_searching
        for group in searching[:n_searching]:
            first = group * ROWS
            if not score_panel(
                left, first * n_pairs, panels, panel * n_pairs * COLUMNS, n_pairs,
                limit, first, above, passed,
            ):  # fmt: skip
                continue
            for row in range(first, min(first + ROWS, n_rows)):
                bits = passed[row - first] & ~seen[panel, row]
                of_row = np.int64(limit[row])
                while bits:
                    column = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    product = above[(row - first) * COLUMNS + column] + of_row
                    found[row, count[row]] = product << 32 | (panel * COLUMNS + column)
                    count[row] += 1
                    if count[row] < full:
                        continue
                    if near[row]:
                        count[row], limit[row] = _keep_near(found[row, :full], n, error)
                        threshold[row] = (limit[row] + error) * (lengths[row] / LENGTH**2)
                        near[row] = count[row] <= (n + full) // 2
                    if not near[row]:
                        count[row] = _score(
                            found[row], scored[row], count[row], vectors[row], items, item_of
                        )
                        if count[row] > n:
                            least = keep_largest(found[row, : count[row]], n)
                            threshold_bits[row] = score_bits(least)
                            limit[row] = _limit(threshold[row], lengths[row], error)
                            count[row] = n
                        scored[row] = count[row]
    for row in range(n_rows):
        if near[row] and count[row] > n:
            count[row], _ = _keep_near(found[row, : count[row]], n, error)
        count[row] = _score(found[row], scored[row], count[row], vectors[row], items, item_of)
        write_best(found[row, : count[row]], best_item[row], best_score[row])
    return computed


@compiled
def _keep_near(found: npt.NDArray[np.int64], n: int, error: int) -> tuple[int, int]:
    """Keep what may be among the n best by its score; return how many, and what any other needs."""
    limit = (keep_largest(found, n) >> 32) - 2 * error
    kept = n
    for place in range(n, len(found)):
        if found[place] >> 32 >= limit:
            found[kept] = found[place]
            kept += 1
    return kept, max(limit, -_NEVER)


@compiled
def _score(
    found: npt.NDArray[np.int64],
    first: int,
    count: int,
    user: npt.NDArray[np.float32],
    items: npt.NDArray[np.float32],
    item_of: npt.NDArray[np.int32],
) -> int:
    """Turn columns, from ``first``, into keys of their scores; return how many keys there are.

    Entries after ``count`` are overwritten; -inf and NaN get no key.
    """
    scores = np.empty(CHAINS, dtype=np.float32)
    n_keys = first
    for start in range(first, count, CHAINS):
        found[count : start + CHAINS] = 0
        dot_products(user, items, items.shape[1], found, start, scores)
        for place in range(start, min(start + CHAINS, count)):
            score = scores[place - start]
            if score >= LEAST:
                bits = scores.view(np.int32)[place - start]
                found[n_keys] = key_of(bits, item_of[found[place] & ITEMS])
                n_keys += 1
    return n_keys


@compiled
def _limit(threshold: float, lengths: float, error: int) -> int:
    """Return what a product of rounded vectors reaches if the score reaches the threshold."""
    if not _SMALL < lengths < _GREAT:
        return -_NEVER
    limit = threshold / lengths * LENGTH**2 - error
    return int(max(-_NEVER, min(np.floor(limit), _NEVER)))


@compiled
def _pack(
    vectors: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Return vectors as ``(n_groups, n_pairs, ROWS)``, flat, of `LENGTH`; and their lengths."""
    n_rows, dim = vectors.shape
    n_groups, n_pairs = (n_rows + ROWS - 1) // ROWS, (dim + 1) // 2
    left = np.zeros(n_groups * n_pairs * ROWS * 2, dtype=np.int16)
    length = np.empty(n_rows, dtype=np.float64)
    for row in range(n_rows):
        square = 0.0
        for d in range(dim):
            square += np.float64(vectors[row, d]) * np.float64(vectors[row, d])
        length[row] = np.sqrt(square)
        if 0 < length[row] < np.inf:
            unit = LENGTH / length[row]
            for d in range(dim):
                place = ((row // ROWS * n_pairs + d // 2) * ROWS + row % ROWS) * 2 + d % 2
                left[place] = np.int16(np.rint(vectors[row, d] * unit))
    return left.view(np.int32), length


@compiled
def _bits_of_seen(
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    column_of: npt.NDArray[np.int32],
    n_panels: int,
    n_columns: int,
) -> npt.NDArray[np.uint64]:
    """Return a bit for each column of the users, ``(n_panels, n_rows)`` and some more.

    Columns that are none count as seen.
    """
    # Not a power of 2 from panel to panel, or one user's bits would share a few lines of the cache.
    seen = np.zeros((n_panels, len(users) + 8), dtype=np.uint64)
    line = np.zeros(n_panels + 1, dtype=np.uint64)
    for row in range(len(users)):
        line[:] = 0
        line[n_columns // COLUMNS] = ~np.uint64(0) << np.uint64(n_columns % COLUMNS)
        for item in indices[indptr[users[row]] : indptr[users[row] + 1]]:
            # Unsigned, or every access would look for an index from the end.
            column = np.uint64(column_of[np.uint64(item)])
            bit = np.uint64(1) << column % np.uint64(COLUMNS)
            line[column // np.uint64(COLUMNS)] |= bit
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
