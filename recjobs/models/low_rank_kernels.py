"""The inner loops of `low_rank`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled_fast, place_of


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
                at = place_of(w_indptr, w_items, items[p], item)
                if at >= 0:
                    share += w_value[at]
                if weight[p] * share > best:
                    best = weight[p] * share
                    out[row, place] = items[p]
