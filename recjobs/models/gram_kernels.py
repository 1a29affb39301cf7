"""Rows of the item-item Gram matrix, and cosines of them, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs import memory
from recjobs.kernels import compiled

#: Entries of a row that are fetched ahead, and of a line of the cache.
_FETCHED, _LINE = 512, 16


@compiled
def gram_rows(
    first: int,
    last: int,
    item_indptr: npt.NDArray[np.int64],
    item_users: npt.NDArray[np.int32],
    item_weight: npt.NDArray[np.float32],
    user_indptr: npt.NDArray[np.int64],
    user_items: npt.NDArray[np.int32],
    user_weight: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write rows ``first:last`` of X'X into ``out``, ``(last - first, n_items)``.

    X is given twice: by columns (``item_…``) and by rows (``user_…``). A user's row is asked for
    while the one but one before it is added.
    """
    for item in range(first, last):
        row = out[item - first]
        row[:] = 0
        end = item_indptr[item + 1]
        for p in range(item_indptr[item], end):
            if p + 2 < end:
                begin = user_indptr[item_users[p + 2]]
                near = min(user_indptr[item_users[p + 2] + 1], begin + _FETCHED)
                for q in range(begin, near, _LINE):
                    memory.prefetch(user_items.ctypes.data + 4 * q)
                    memory.prefetch(user_weight.ctypes.data + 4 * q)
            user = item_users[p]
            weight = item_weight[p]
            for q in range(user_indptr[user], user_indptr[user + 1]):
                row[user_items[q]] += weight * user_weight[q]


@compiled
def to_cosines(
    first: int,
    gram: npt.NDArray[np.float32],
    length: npt.NDArray[np.float32],
    shrinkage: np.float32,
) -> None:
    """Turn rows of X'X into cosines; -inf where they are not above 0, and on the diagonal.

    Args:
        first: The row of X'X that is the first here.
        gram: ``(n_rows, n)``; changed in place.
        length: The square root of the diagonal of X'X, ``(n,)``.
        shrinkage: Added to the product of the lengths.
    """
    for row in range(len(gram)):
        line, own = gram[row], length[first + row]
        for other in range(len(length)):
            value = line[other]
            line[other] = value / (own * length[other] + shrinkage) if value > 0 else -np.inf
        line[first + row] = -np.inf
