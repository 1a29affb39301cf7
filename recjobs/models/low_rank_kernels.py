"""The inner loops of `low_rank`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled, compiled_fast


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
            for q in range(w_indptr[items[p]], w_indptr[items[p] + 1]):
                line[w_items[q]] += weight[p] * w_value[q]


@compiled_fast
def because_of_low_rank(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    w_indptr: npt.NDArray[np.int64],
    w_items: npt.NDArray[np.int32],
    w_value: npt.NDArray[np.float32],
    sources: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item i, the history item h with the greatest x_h (W + A B')[h, i]."""
    for row in range(len(users)):
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            best = np.float32(0)
            for p in range(indptr[users[row]], indptr[users[row] + 1]):
                if items[p] == item:
                    continue
                share = np.float32(0)
                for d in range(sources.shape[1]):
                    share += sources[items[p], d] * targets[item, d]
                begin, end = w_indptr[items[p]], w_indptr[items[p] + 1]
                at = begin + np.searchsorted(w_items[begin:end], item)
                if at < end and w_items[at] == item:
                    share += w_value[at]
                if weight[p] * share > best:
                    best = weight[p] * share
                    out[row, place] = items[p]
