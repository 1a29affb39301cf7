"""The inner loops of `relations`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs import memory
from recjobs.kernels import compiled, place_of
from recjobs.models.gram_kernels import FETCHED, LINE
from recjobs.panels import COLUMNS, ROWS, SPAN, lowest_bit, score_panel, sum_rows


@compiled
def add_sparse(
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    w_indptr: npt.NDArray[np.int64],
    w_items: npt.NDArray[np.int32],
    w_value: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Add ``X[users] @ W`` to ``out`` for sparse X and W.

    An item's row of W is asked for while the one before it is added.
    """
    for row in range(len(users)):
        line = out[row]
        end = indptr[users[row] + 1]
        for p in range(indptr[users[row]], end):
            if p + 1 < end:
                begin = w_indptr[items[p + 1]]
                near = min(w_indptr[items[p + 1] + 1], begin + FETCHED)
                for q in range(begin, near, LINE):
                    memory.prefetch(w_items.ctypes.data + 4 * q)
                    memory.prefetch(w_value.ctypes.data + 4 * q)
            # Unsigned, or every access would look for an index from the end.
            for q in range(np.uint64(w_indptr[items[p]]), np.uint64(w_indptr[items[p] + 1])):
                line[np.uint64(w_items[q])] += weight[p] * w_value[q]


@compiled
def score_sparse(
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    w_indptr: npt.NDArray[np.int64],
    w_items: npt.NDArray[np.int32],
    w_value: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write ``X[users] @ W`` for sparse X and W >= 0; -inf where no history item has a say."""
    for row in range(len(users)):
        line = out[row : row + 1]
        line[:] = 0
        add_sparse(users[row : row + 1], indptr, items, weight, w_indptr, w_items, w_value, line)
        silence(line)


@compiled
def silence(scores: npt.NDArray[np.float32]) -> None:
    """Write -inf for 0, ``(n_rows, n_items)``: no history item has a say."""
    for row in range(len(scores)):
        line = scores[row]
        for column in range(len(line)):
            line[column] = line[column] if line[column] != 0 else np.float32(-np.inf)


@compiled
def score_dense(
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    matrix: npt.NDArray[np.float32],
    item_of: npt.NDArray[np.int32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write ``X[users] @ W`` for sparse X and dense W, by columns of W that stay in cache.

    -inf where it is 0: no history item has a say.

    Args:
        users: The user of each row, ``(n_rows,)``.
        indptr: Of X, ``(n_users + 1,)``.
        items: The columns of X.
        weight: The values of X.
        matrix: W, ``(n_active, n_active)``, contiguous.
        item_of: Where each column of W goes, ``(n_active,)``.
        out: ``(n_rows, n_items)``; only those columns are written.
    """
    width = matrix.shape[1]
    flat = matrix.ravel()
    total = np.empty(SPAN, dtype=np.float32)
    for start in range(0, width, SPAN):
        # The last columns overlap with those before: what is read is always within W.
        first = max(0, min(start, width - SPAN))
        for row in range(len(users)):
            begin, end = indptr[users[row]], indptr[users[row] + 1]
            if width >= SPAN:
                sum_rows(flat, first, width, items, weight, begin, end, total)
            else:
                total[:] = 0
                for p in range(begin, end):
                    total[:width] += weight[p] * matrix[items[p]]
            for column in range(min(SPAN, width)):
                score = total[column]
                out[row, item_of[first + column]] = score if score != 0 else np.float32(-np.inf)


@compiled
def because_of_vectors(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    unit: npt.NDArray[np.float32],
    known: npt.NDArray[np.bool_],
    nearest: npt.NDArray[np.int32],
    sought: npt.NDArray[np.bool_],
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item, the history item with the greatest cosine.

    That is the first of its nearest items that is in the history; where none of them is, all of the
    history is looked at.

    Args:
        lists: Item indexes, ``(n_rows, n)``; -1 for an entry to leave alone.
        users: The user of each row.
        indptr: Of the histories, ``(n_users + 1,)``.
        items: The history items, ascending within a user.
        unit: Item vectors of length 1, ``(n_items, dim)``.
        known: Which history items count, ``(n_items,)``.
        nearest: See `nearest.Nearest`, ``(n_items, n_nearest)``.
        sought: Which rows of it count, ``(n_items,)``.
        out: ``(n_rows, n)``; set where there is such a history item other than the item itself.
    """
    n, dim = lists.shape[1], unit.shape[1]
    places = np.empty(n, dtype=np.int64)
    listed = np.zeros((-(-n // ROWS), dim, ROWS), dtype=np.float32)
    history = np.zeros((dim, COLUMNS), dtype=np.float32)
    best = np.empty(len(listed) * ROWS, dtype=np.float32)
    cosines = np.empty(ROWS * COLUMNS, dtype=np.float32)
    passed = np.empty(ROWS, dtype=np.uint64)
    has = np.zeros(len(unit), dtype=np.bool_)
    for row in range(len(users)):
        own = items[indptr[users[row]] : indptr[users[row] + 1]]
        has[own] = True
        left = 0
        for place in range(n):
            item = lists[row, place]
            if item < 0:
                continue
            if sought[item]:
                out[row, place] = _first_of(nearest[item], has)
            if out[row, place] < 0:
                places[left] = place
                left += 1
        has[own] = False
        best[:] = np.inf  # which nothing reaches
        for entry in range(left):
            best[entry] = -np.inf
            listed[entry // ROWS, :, entry % ROWS] = unit[lists[row, places[entry]]]
        for first in range(0, len(own) if left else 0, COLUMNS):
            part = own[first : first + COLUMNS]
            for column in range(len(part)):
                history[:, column] = unit[part[column]]
                if not known[part[column]]:
                    history[0, column] = np.nan
            history[0, len(part) :] = np.nan
            for group in range((left + ROWS - 1) // ROWS):
                if score_panel(
                    listed.ravel(), group * dim * ROWS, history.ravel(), 0, dim,
                    best, group * ROWS, cosines, passed,
                ):  # fmt: skip
                    _keep_nearest(
                        places[group * ROWS : left], part, cosines, passed, lists[row],
                        best[group * ROWS :], out[row],
                    )  # fmt: skip


@compiled
def _first_of(items: npt.NDArray[np.int32], has: npt.NDArray[np.bool_]) -> int:
    """Return the first item that there is, -1 where there is none."""
    for item in items:
        if item < 0:
            break
        if has[item]:
            return int(item)
    return -1


@compiled
def _keep_nearest(
    places: npt.NDArray[np.int64],
    own: npt.NDArray[np.int32],
    cosines: npt.NDArray[np.float32],
    passed: npt.NDArray[np.uint64],
    listed: npt.NDArray[np.int32],
    best: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """Take what a panel has over into ``best`` and ``out``: of equals, the first stays.

    Args:
        places: Where the panel's rows are on the list; there may be fewer than ROWS.
        own: The history item of each column.
        cosines: The panel, ``(ROWS * COLUMNS,)``.
        passed: A bit of each column that may be nearer, ``(ROWS,)``.
        listed: The whole list.
        best: The cosine of each row so far.
        out: The reasons of the whole list.
    """
    for r in range(min(ROWS, len(places))):
        place = places[r]
        bits = passed[r]
        while bits:
            column = lowest_bit(bits)
            bits &= bits - np.uint64(1)
            cosine = cosines[r * COLUMNS + column]
            if cosine > best[r] and own[column] != listed[place]:
                best[r] = cosine
                out[place] = own[column]


@compiled
def because_of_sparse(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    w_indptr: npt.NDArray[np.int64],
    w_items: npt.NDArray[np.int32],
    w_value: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item ``i``, the history item ``h`` with the greatest x_h W[h, i]."""
    for row in range(len(users)):
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            best = np.float32(-np.inf)
            for p in range(indptr[users[row]], indptr[users[row] + 1]):
                at = place_of(w_indptr, w_items, items[p], item)
                if at >= 0 and weight[p] * w_value[at] > best:
                    best = weight[p] * w_value[at]
                    out[row, place] = items[p]


@compiled
def because_of_dense(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    matrix: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """As `because_of_sparse`, for a dense W; items are columns of W here."""
    for row in range(len(users)):
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            best = np.float32(0)
            for p in range(indptr[users[row]], indptr[users[row] + 1]):
                share = weight[p] * matrix[items[p], item]
                if items[p] != item and share > best:
                    best = share
                    out[row, place] = items[p]
