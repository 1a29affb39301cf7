"""The inner loops of content's explanations, compiled; imported where they run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled


@compiled
def because_of_rows(
    lists: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    f_indptr: npt.NDArray[np.int64],
    f_places: npt.NDArray[np.int32],
    f_value: npt.NDArray[np.float32],
    dim: int,
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item ``i``, the history item ``h`` with the greatest x_h f_h · f_i.

    Args:
        lists: Item indexes, ``(n_rows, n)``; -1 for an entry to leave alone.
        users: The user of each row.
        indptr: Of the histories x, ``(n_users + 1,)``.
        items: The history items.
        weight: Their weights.
        f_indptr: Of the items' sparse rows f, ``(n_items + 1,)``.
        f_places: The places of a row's values.
        f_value: The values.
        dim: Places of a row.
        out: ``(n_rows, n)``; set where a history item shares a feature with the listed one.
    """
    own = np.zeros(dim, dtype=np.float32)
    for row in range(len(users)):
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            for q in range(f_indptr[item], f_indptr[item + 1]):
                own[f_places[q]] = f_value[q]
            best = np.float32(0)
            for p in range(indptr[users[row]], indptr[users[row] + 1]):
                share = np.float32(0)
                for q in range(f_indptr[items[p]], f_indptr[items[p] + 1]):
                    share += own[f_places[q]] * f_value[q]
                share *= weight[p]
                if items[p] != item and share > best:
                    best = share
                    out[row, place] = items[p]
            for q in range(f_indptr[item], f_indptr[item + 1]):
                own[f_places[q]] = 0


@compiled
def telling_features(
    lists: npt.NDArray[np.int32],
    p_indptr: npt.NDArray[np.int64],
    p_places: npt.NDArray[np.int32],
    p_value: npt.NDArray[np.float32],
    f_indptr: npt.NDArray[np.int64],
    f_places: npt.NDArray[np.int32],
    f_value: npt.NDArray[np.float32],
    name_of: npt.NDArray[np.int32],
    out: npt.NDArray[np.int32],
) -> None:
    """Write, for each listed item ``i``, the names that add most to p_u · f_i, the most first.

    Args:
        lists: Item indexes, ``(n_rows, n)``; -1 for an entry to leave alone.
        p_indptr: Of the users' profiles p, ``(n_rows + 1,)``.
        p_places: The places of a profile's values.
        p_value: The values.
        f_indptr: Of the items' sparse rows f, ``(n_items + 1,)``.
        f_places: The places of a row's values, ascending.
        f_value: The values.
        name_of: The name of each place, ascending: places of one name count together.
        out: ``(n_rows, n, k)``; set as far as there are names that add anything.
    """
    profile = np.zeros(len(name_of), dtype=np.float32)
    k = out.shape[2]
    most = np.empty(k, dtype=np.float32)
    for row in range(lists.shape[0]):
        for p in range(p_indptr[row], p_indptr[row + 1]):
            profile[p_places[p]] = p_value[p]
        for place in range(lists.shape[1]):
            item = lists[row, place]
            if item < 0:
                continue
            most[:] = 0
            q, end = f_indptr[item], f_indptr[item + 1]
            while q < end:
                name = name_of[f_places[q]]
                share = np.float32(0)
                while q < end and name_of[f_places[q]] == name:
                    share += profile[f_places[q]] * f_value[q]
                    q += 1
                at = k
                while at > 0 and share > most[at - 1]:
                    at -= 1
                for later in range(k - 1, at, -1):
                    most[later] = most[later - 1]
                    out[row, place, later] = out[row, place, later - 1]
                if at < k:
                    most[at] = share
                    out[row, place, at] = name
        for p in range(p_indptr[row], p_indptr[row + 1]):
            profile[p_places[p]] = 0
