"""The inner loops of `user_knn`, in numba."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled, place_of


@compiled
def score_by_neighbours(
    users: npt.NDArray[np.int32],
    near: npt.NDArray[np.int32],
    likeness: npt.NDArray[np.float32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Write the sum over each user's neighbours v of likeness x_v; -inf where nobody has a say.

    Args:
        users: The user of each row, ``(b,)``.
        near: Each user's neighbours, ``(n_users, k)``, -1 padded.
        likeness: Theirs, ``(n_users, k)``; above 0.
        indptr: Of the histories x, ``(n_users + 1,)``.
        items: The history items, ascending within a user.
        weight: Of each; above 0.
        out: ``(b, n_items)``.
    """
    for row in range(len(users)):
        line = out[row]
        line[:] = 0
        for place in range(near.shape[1]):
            other = near[users[row], place]
            if other < 0:
                break
            for p in range(indptr[other], indptr[other + 1]):
                line[items[p]] += likeness[users[row], place] * weight[p]
        for column in range(len(line)):
            if line[column] == 0:
                line[column] = -np.inf


@compiled
def because_of_neighbours(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    near: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    length: npt.NDArray[np.float32],
    shrinkage: np.float32,
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item, the history item that makes the most of its score.

    A neighbour v speaks for item i with x_vi sum_h x_uh x_vh / (|u| |v| + shrinkage): item h has
    its term of that sum.
    """
    for row in range(len(users)):
        user = users[row]
        begin, end = indptr[user], indptr[user + 1]
        credit = np.empty(end - begin, dtype=np.float32)
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            credit[:] = 0
            for neighbour in range(near.shape[1]):
                other = near[user, neighbour]
                if other < 0:
                    break
                first, last = indptr[other], indptr[other + 1]
                at = place_of(indptr, items, other, item)
                if at < 0:
                    continue
                say = weight[at] / (length[user] * length[other] + shrinkage)
                p, q = begin, first
                while p < end and q < last:
                    if items[p] == items[q]:
                        if items[p] != item:
                            credit[p - begin] += say * weight[p] * weight[q]
                        p += 1
                        q += 1
                    elif items[p] < items[q]:
                        p += 1
                    else:
                        q += 1
            best = np.float32(0)
            for p in range(end - begin):
                if credit[p] > best:
                    best = credit[p]
                    out[row, place] = items[begin + p]
