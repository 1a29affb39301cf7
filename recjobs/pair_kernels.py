"""From rows of the log to pairs of a user and an item: the loops of `pairs`, in numba."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled, place_of

#: Of an item's number, as many as there are counters for.
_DIGIT_BITS: Final = 16
_DIGIT: Final = (1 << _DIGIT_BITS) - 1
#: Of a key, the row.
_ROW: Final = (1 << 32) - 1


@compiled
def count_users(users: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> None:
    """Add how many rows each user has to ``counts``, ``(n_users,)``."""
    for user in users:
        counts[user] += 1


@compiled
def place_rows(
    users: npt.NDArray[np.int32], begin: npt.NDArray[np.int64], place: npt.NDArray[np.integer]
) -> None:
    """Write where each row goes, ``(n_rows,)``: a user's rows one after the other.

    Args:
        users: Of each row.
        begin: Where each user's first one goes, ``(n_users,)``; changed.
        place: Written.
    """
    for row in range(len(users)):
        place[row] = begin[users[row]]
        begin[users[row]] += 1


@compiled
def put(
    column: npt.NDArray[np.generic], place: npt.NDArray[np.integer], out: npt.NDArray[np.generic]
) -> None:
    """Write each value to its place in ``out``."""
    for row in range(len(place)):
        out[place[row]] = column[row]


@compiled
def take(
    column: npt.NDArray[np.generic], rows: npt.NDArray[np.integer], out: npt.NDArray[np.generic]
) -> None:
    """Write ``column[rows]``; numpy would first make 8 bytes of each row's number."""
    for place in range(len(rows)):
        out[place] = column[rows[place]]


@compiled
def count_rows(indptr: npt.NDArray[np.int64], rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how many of each user's rows are chosen, ``(n_users,)``."""
    counts = np.zeros(len(indptr) - 1, dtype=np.int64)
    for user in range(len(counts)):
        for row in range(indptr[user], indptr[user + 1]):
            counts[user] += rows[row]
    return counts


@compiled
def count_items(
    items: npt.NDArray[np.int32], rows: npt.NDArray[np.bool_], n_items: int
) -> npt.NDArray[np.int64]:
    """Return how many chosen rows each item has, ``(n_items,)``."""
    counts = np.zeros(n_items, dtype=np.int64)
    for row in range(len(items)):
        counts[items[row]] += rows[row]
    return counts


@compiled
def order_pairs(
    first: int,
    last: int,
    indptr: npt.NDArray[np.int64],
    rows: npt.NDArray[np.bool_],
    items: npt.NDArray[np.int32],
    begin: npt.NDArray[np.int64],
    order: npt.NDArray[np.integer],
    newest: npt.NDArray[np.bool_],
    pairs: npt.NDArray[np.int64],
) -> None:
    """Order the chosen rows of users ``first:last`` by item, those of a pair as given.

    A sort by counting, of all these users at once: by item, then by user. What it writes to should
    fit the cache, so there should not be more than some hundred thousand rows.

    Args:
        first: The first user.
        last: The user after the last.
        indptr: Of the rows by user, ``(n_users + 1,)``.
        rows: Which are chosen.
        items: Of each row.
        begin: Where each user's chosen rows go, ``(n_users + 1,)``.
        order: The chosen rows, ``(n_chosen,)``; written.
        newest: Which of them are their pair's last, ``(n_chosen,)``; written.
        pairs: Of each user, ``(n_users,)``; written.
    """
    origin, count, greatest = indptr[first], 0, 0
    # A user and a row of theirs, both counted from the first.
    keys = np.empty(begin[last] - begin[first], dtype=np.int64)
    for user in range(first, last):
        for row in range(indptr[user], indptr[user + 1]):
            if rows[row]:
                keys[count] = (np.int64(user - first) << 32) | (row - origin)
                count += 1
                greatest = max(greatest, items[row])
    spare, ends = np.empty_like(keys), np.empty(_DIGIT + 1, dtype=np.int64)
    shift = 0
    while shift == 0 or greatest >> shift:
        ends[: min(greatest >> shift, _DIGIT) + 1] = 0
        for key in keys:
            ends[(items[origin + (key & _ROW)] >> shift) & _DIGIT] += 1
        before = 0
        for digit in range(min(greatest >> shift, _DIGIT) + 1):
            before, ends[digit] = before + ends[digit], before
        for key in keys:
            digit = (items[origin + (key & _ROW)] >> shift) & _DIGIT
            spare[ends[digit]] = key
            ends[digit] += 1
        keys, spare = spare, keys
        shift += _DIGIT_BITS
    place = begin[first:last].copy()
    for key in keys:
        user = key >> 32
        order[place[user]] = origin + (key & _ROW)
        place[user] += 1
    for user in range(first, last):
        pairs[user] = 0
        for at in range(begin[user], begin[user + 1]):
            newest[at] = at + 1 == begin[user + 1] or items[order[at]] != items[order[at + 1]]
            pairs[user] += newest[at]


@compiled
def find_pairs(
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    found: npt.NDArray[np.bool_],
) -> None:
    """Write whether each pair is in a CSR matrix, ``indices`` ascending within a user."""
    for pair in range(len(users)):
        found[pair] = place_of(indptr, indices, users[pair], items[pair]) >= 0


@compiled
def last_where(
    rows: npt.NDArray[np.integer], last: npt.NDArray[np.integer], where: npt.NDArray[np.bool_]
) -> npt.NDArray[np.integer]:
    """Return each pair's last row of those that are flagged, and its last one where none is.

    Args:
        rows: By pair, each pair's oldest first.
        last: Each pair's last row, in the same order.
        where: The flag of each row there is.
    """
    found = last.copy()
    place = 0
    for pair in range(len(last)):
        row = np.int64(-1)
        while row != last[pair]:
            row = np.int64(rows[place])
            place += 1
            if where[row]:
                found[pair] = row
    return found


@compiled
def sum_pairs(
    rows: npt.NDArray[np.integer],
    last: npt.NDArray[np.integer],
    weight: npt.NDArray[np.float32],
    ts: npt.NDArray[np.int64],
    as_of: int,
    half_life: float,
) -> npt.NDArray[np.float32]:
    """Return the sum of each pair's weights above 0, halved per half-life before ``as_of``.

    Args:
        rows: By pair.
        last: Each pair's last row, in the same order.
        weight: Of each row there is.
        ts: Of each row there is.
        as_of: On the scale of ``ts``.
        half_life: Likewise; infinite: nothing is halved.
    """
    total = np.empty(len(last), dtype=np.float32)
    place = 0
    for pair in range(len(last)):
        whole = 0.0
        row = np.int64(-1)
        while row != last[pair]:
            row = np.int64(rows[place])
            place += 1
            if weight[row] > 0 and half_life < np.inf:
                whole += weight[row] * 2.0 ** (-(as_of - ts[row]) / half_life)
            elif weight[row] > 0:
                whole += weight[row]
        total[pair] = whole
    return total
