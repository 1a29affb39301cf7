"""The order of interactions by time and within an instant, in numba; imported where it runs."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled

#: Rows of one instant that are ordered here: each is moved past those before it, one at a time.
_FEW: Final = 128

Ints = npt.NDArray[np.int64]


@compiled
def merge(ts: Ints, half: int, one: Ints, two: Ints, order: Ints) -> None:
    """Merge the order of the first rows with that of the others, by time, the first ones first.

    Args:
        ts: Of each row, ``(n,)``.
        half: How many the first are.
        one: Their numbers by time, ``(half,)``.
        two: The others' likewise, counted from ``half``, ``(n - half,)``.
        order: Filled, ``(n,)``.
    """
    left = right = 0
    for place in range(len(order)):
        if right == len(two) or (left < half and ts[one[left]] <= ts[half + two[right]]):
            order[place] = one[left]
            left += 1
        else:
            order[place] = half + two[right]
            right += 1


@compiled
def order_instants(
    order: Ints,
    ts: Ints,
    user: npt.NDArray[np.int32],
    item: npt.NDArray[np.int32],
    rating: npt.NDArray[np.float32],
    has_rating: npt.NDArray[np.bool_],
    event: npt.NDArray[np.int32],
) -> Ints:
    """Order the rows of each instant by (user, item, rating, event), where they are few.

    Args:
        order: Row numbers by time, ``(n,)``; changed in place.
        ts: Of each row, ``(n,)``, as are the others.
        user: Codes.
        item: Codes.
        rating: NaN where there is none, and behind the others.
        has_rating: Those without come behind those that are NaN.
        event: Codes.

    Returns:
        First and end of the places of each instant that has more rows than that,
        ``(n_instants, 2)``; nothing is done about them.
    """
    many = np.empty((len(order) // _FEW, 2), dtype=np.int64)
    count = 0
    start = 0
    while start < len(order):
        instant = ts[order[start]]
        end = start + 1
        while end < len(order) and ts[order[end]] == instant:
            end += 1
        if end - start > _FEW:
            many[count] = start, end
            count += 1
        else:
            for place in range(start + 1, end):
                row = order[place]
                at = place
                while at > start and _before(
                    row, order[at - 1], user, item, rating, has_rating, event
                ):
                    order[at] = order[at - 1]
                    at -= 1
                order[at] = row
        start = end
    return many[:count]


@compiled
def _before(
    one: int, two: int, user: Any, item: Any, rating: Any, has_rating: Any, event: Any
) -> bool:
    if user[one] != user[two]:
        return bool(user[one] < user[two])
    if item[one] != item[two]:
        return bool(item[one] < item[two])
    if has_rating[one] != has_rating[two]:
        return bool(has_rating[one])
    if rating[one] < rating[two] or rating[two] < rating[one]:
        return bool(rating[one] < rating[two])
    if np.isnan(rating[one]) != np.isnan(rating[two]):
        return bool(np.isnan(rating[two]))
    return bool(event[one] < event[two])
