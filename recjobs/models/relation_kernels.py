"""The inner loops of `relations`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled, place_of
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
    """Add ``X[users] @ W`` to ``out`` for sparse X and W."""
    for row in range(len(users)):
        line = out[row]
        for p in range(indptr[users[row]], indptr[users[row] + 1]):
            begin, end = w_indptr[items[p]], w_indptr[items[p] + 1]
            columns, values = w_items[begin:end], w_value[begin:end]
            for q in range(len(columns)):
                line[columns[q]] += weight[p] * values[q]


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
        line = out[row]
        line[:] = 0
        add_sparse(
            users[row : row + 1], indptr, items, weight, w_indptr, w_items, w_value,
            out[row : row + 1],
        )  # fmt: skip
        for column in range(len(line)):
            line[column] = line[column] if line[column] != 0 else -np.inf


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
                out[row, item_of[first + column]] = total[column]


@compiled
def because_of_vectors(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    unit: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item, the history item with the greatest cosine.

    Args:
        lists: Item indexes, ``(n_rows, n)``; -1 for an entry to leave alone.
        users: The user of each row.
        indptr: Of the histories, ``(n_users + 1,)``.
        items: The history items, ascending within a user.
        unit: Item vectors of length 1, ``(n_items, dim)``.
        out: ``(n_rows, n)``; set where there is a history item other than the item itself.
    """
    n, dim = lists.shape[1], unit.shape[1]
    listed = np.zeros((-(-n // ROWS), dim, ROWS), dtype=np.float32)
    history = np.zeros((dim, COLUMNS), dtype=np.float32)
    best = np.empty(len(listed) * ROWS, dtype=np.float32)
    cosines = np.empty(ROWS * COLUMNS, dtype=np.float32)
    passed = np.empty(ROWS, dtype=np.uint64)
    for row in range(len(users)):
        best[:] = np.inf  # which nothing reaches
        for place in range(n):
            if lists[row, place] >= 0:
                best[place] = -np.inf
                listed[place // ROWS, :, place % ROWS] = unit[lists[row, place]]
        end = indptr[users[row] + 1]
        for first in range(indptr[users[row]], end, COLUMNS):
            own = items[first : min(first + COLUMNS, end)]
            for column in range(len(own)):
                history[:, column] = unit[own[column]]
            history[0, len(own) :] = np.nan
            for group in range(len(listed)):
                if score_panel(
                    listed.ravel(), group * dim * ROWS, history.ravel(), 0, dim,
                    best, group * ROWS, cosines, passed,
                ):  # fmt: skip
                    _keep_nearest(group, own, cosines, passed, lists[row], best, out[row])


@compiled
def _keep_nearest(
    group: int,
    own: npt.NDArray[np.int32],
    cosines: npt.NDArray[np.float32],
    passed: npt.NDArray[np.uint64],
    listed: npt.NDArray[np.int32],
    best: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """Take what a panel has over into ``best`` and ``out``: of equals, the first stays."""
    for r in range(ROWS):
        place = group * ROWS + r
        bits = passed[r]
        while bits:
            column = lowest_bit(bits)
            bits &= bits - np.uint64(1)
            cosine = cosines[r * COLUMNS + column]
            if cosine > best[place] and own[column] != listed[place]:
                best[place] = cosine
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
            best = np.float32(-np.inf)
            for p in range(indptr[users[row]], indptr[users[row] + 1]):
                share = weight[p] * matrix[items[p], item]
                if items[p] != item and share > best:
                    best = share
                    out[row, place] = items[p]
