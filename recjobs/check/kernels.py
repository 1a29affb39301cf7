"""The loops of the check over entries of lists, in numba; imported where they run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Bounds = npt.NDArray[np.int64]


@compiled
def count_faults(
    users: Ints,
    bounds: Bounds,
    items: Ints,
    n: int,
    indptr: Bounds,
    log_items: Ints,
    is_seen: Bools,
    candidates: Bools,
    recommended: Bools,
) -> tuple[int, int, int]:
    """Count the entries that no list may have, and mark what is recommended.

    Args:
        users: The user of each list, ``(n_rows,)``; -1 for an unknown one.
        bounds: The first entry of each list, and the number of all, ``(n_rows + 1,)``.
        items: Of each entry, ``(n_entries,)``; -1 for an unknown one.
        n: Length of a list; what is after it is not recommended yet.
        indptr: Of the log by user, ``(n_users + 1,)``.
        log_items: Of each row of the log.
        is_seen: Which rows of the log must not be recommended again.
        candidates: ``(n_items,)``.
        recommended: ``(n_items,)``; set where an item is on a list.

    Returns:
        How many were seen, are on the same list once more, are no candidates.
    """
    n_seen = n_twice = n_others = 0
    # Of which row a mark is, plus 1: nothing is to be cleared.
    seen = np.zeros(len(candidates), dtype=np.int64)
    listed = np.zeros(len(candidates), dtype=np.int64)
    for row in range(len(users)):
        user, mark = users[row], row + 1
        if user >= 0:
            for past in range(indptr[user], indptr[user + 1]):
                if is_seen[past]:
                    seen[log_items[past]] = mark
        for entry in range(bounds[row], bounds[row + 1]):
            item = items[entry]
            if item < 0:
                n_others += 1
                continue
            n_seen += seen[item] == mark
            n_twice += listed[item] == mark
            n_others += not candidates[item]
            listed[item] = mark
            if entry - bounds[row] < n:
                recommended[item] = True
    return n_seen, n_twice, n_others


@compiled
def count_replaced(
    users: Ints,
    bounds: Bounds,
    items: Ints,
    row: int,
    old_users: Ints,
    old_bounds: Bounds,
    old_items: Ints,
    old_row: int,
    n: int,
    n_items: int,
    replaced: Bounds,
) -> tuple[int, int, int]:
    """Compare the first n of lists, old and new, until either are at their end.

    Args:
        users: The user of each new list, ascending; -1 for an unknown one.
        bounds: The first entry of each, and the number of all.
        items: Of each entry; -1 for an unknown one.
        row: The list to begin with.
        old_users: As ``users``, of the old lists.
        old_bounds: As ``bounds``.
        old_items: As ``items``.
        old_row: As ``row``.
        n: How many entries of a list are compared.
        n_items: Items there are.
        replaced: ``(n + 1,)``; by how many entries of an old list were compared, takes how many of
            them are not on the user's new one.

    Returns:
        Where to go on among the new and the old ones; how many users were compared.
    """
    compared = 0
    listed = np.zeros(n_items, dtype=np.bool_)
    while row < len(users) and old_row < len(old_users):
        first, old_first = bounds[row], old_bounds[old_row]
        new = items[first : min(first + n, bounds[row + 1])]
        old = old_items[old_first : min(old_first + n, old_bounds[old_row + 1])]
        user, old_user = users[row], old_users[old_row]
        if user < 0 or len(new) == 0 or user < old_user:
            row += 1
            continue
        if len(old) and old_user == user:
            for item in new:
                if item >= 0:
                    listed[item] = True
            stayed = 0
            for item in old:
                stayed += item >= 0 and listed[item]
            for item in new:
                if item >= 0:
                    listed[item] = False
            replaced[len(old)] += len(old) - stayed
            compared += 1
        old_row += 1
    return row, old_row, compared
