"""Rows of a log brought into order: by user, and by pair of a user and an item."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recjobs.threads import cores, over_rows

_Rows = npt.NDArray[np.integer]
#: Rows that a thread takes at a time.
_PART: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Pairs:
    """Chosen rows of a log, by (user, item).

    Attributes:
        rows: Them, ``(n_rows,)``, each pair's oldest first.
        newest: Each pair's last, ``(n_pairs,)``.
        indptr: Of the pairs by user, int64, ``(n_users + 1,)``.
        user_rows: Of each user, int64, ``(n_users,)``.
    """

    rows: _Rows
    newest: _Rows
    indptr: npt.NDArray[np.int64]
    user_rows: npt.NDArray[np.int64]


def pairs_of(
    indptr: npt.NDArray[np.int64], item_idx: npt.NDArray[np.int32], rows: npt.NDArray[np.bool_]
) -> Pairs:
    """Return the chosen rows by (user, item).

    Args:
        indptr: Of the rows by user, ``(n_users + 1,)``.
        item_idx: Of each row, ``(n_rows,)``.
        rows: bool, ``(n_rows,)``; which are chosen.
    """
    from recjobs.pair_kernels import count_rows, order_pairs

    user_rows = count_rows(indptr, rows)
    begin = _cumulated(user_rows)
    ordered = np.empty(begin[-1], dtype=_row_type(item_idx))
    is_newest = np.empty(len(ordered), dtype=np.bool_)
    pairs = np.zeros_like(user_rows)

    def work(part: slice) -> None:
        first, last = np.searchsorted(begin, [part.start, part.stop])
        order_pairs(first, last, indptr, rows, item_idx, begin, ordered, is_newest, pairs)

    over_rows(work, len(ordered), _PART)
    return Pairs(ordered, ordered[is_newest], _cumulated(pairs), user_rows)


def taken(rows: _Rows, *columns: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return some rows of each column."""
    from recjobs.pair_kernels import take

    values = [np.empty(len(rows), dtype=column.dtype) for column in columns]

    def work(part: slice) -> None:
        for column, out in zip(columns, values, strict=True):
            take(column, rows[part], out[part])

    over_rows(work, len(rows), _PART)
    return values


def _cumulated(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each part begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _row_type(column: npt.NDArray[np.int32]) -> type[np.integer]:
    """Return the smaller type that holds the number of any row."""
    return np.int32 if len(column) <= np.iinfo(np.int32).max else np.int64


def by_user(
    user_idx: npt.NDArray[np.int32], *columns: npt.NDArray[Any], n_users: int
) -> list[npt.NDArray[Any]]:
    """Return ``user_idx`` and the columns, each ``(n_rows,)``, by user, else as they are.

    A sort by counting, each thread with a part of the rows. What is given is written over: fresh
    memory costs more than the sorting.
    """
    from recjobs.pair_kernels import count_users, place_rows

    n_rows = len(user_idx)
    # Each part counts every user: of more users than rows there is but one part.
    n_parts = min(cores(), max(n_rows // max(n_users, 1), 1))
    step = max(1, -(-n_rows // n_parts))
    rows_of = np.zeros((-(-n_rows // step), n_users), dtype=np.int64)  # in each part

    def count(part: slice) -> None:
        count_users(user_idx[part], rows_of[part.start // step])

    over_rows(count, n_rows, step)
    # A user's rows of the first part, then those of the second, then the next user's.
    ends = np.cumsum(rows_of.T).reshape(rows_of.shape[::-1])
    begin = np.ascontiguousarray(ends.T) - rows_of
    place = np.empty(n_rows, dtype=_row_type(user_idx))

    def find(part: slice) -> None:
        place_rows(user_idx[part], begin[part.start // step], place[part])

    over_rows(find, n_rows, step)
    spare, ordered = [user_idx], []
    for column in columns:
        same = [n for n, room in enumerate(spare) if room.itemsize == column.itemsize]
        out = spare.pop(same[0]).view(column.dtype) if same else np.empty_like(column)
        _put(column, place, out, step)
        ordered.append(out)
        spare.append(column)
    users = np.repeat(np.arange(n_users, dtype=np.int32), rows_of.sum(axis=0))
    return [users, *ordered]


def _put(column: npt.NDArray[Any], place: _Rows, out: npt.NDArray[Any], step: int) -> None:
    from recjobs.pair_kernels import put

    over_rows(lambda part: put(column[part], place[part], out), len(place), step)
