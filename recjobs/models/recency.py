"""How popular each item was when an interaction happened, as features of a learned item bias.

What people choose drifts: a film is seen by many in the weeks after it came out. A factor model
with one bias per item averages that away and loses to plain recent popularity. So the bias gets a
part that moves: a learned weight times the log share of recent interactions, for a few half-lives.
In training each interaction sees the shares as they were before it, so nothing leaks; the lists
use the shares at the end of the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.dataset import Float32Array, Int32Array, Int64Array

#: The setting: half-lives in days. One of 0 or NaN would make every share, and every score, NaN.
RecencyDays = tuple[Annotated[float, Field(gt=0)], ...]

#: Times at which the shares are taken, at equal numbers of interactions.
_TIMES: Final = 64
#: Fewer distinct times say nothing about drift.
_MIN_TIMES: Final = 8
#: Added to a share, in units of the mean share, so that its log is finite.
_SMOOTHING: Final = 0.1


@dataclass(frozen=True, slots=True)
class Recency:
    """Log shares of recent interactions at a few times.

    Attributes:
        time: The time of each interaction, a row of ``shares``, int32 ``(n_pairs,)``.
        shares: float32, ``(n_times + 1, n_items, n_half_lives)``; the last row is the end of the
            data.
    """

    time: Int32Array
    shares: Float32Array

    @property
    def moves(self) -> bool:
        """Whether there is anything in the shares; else they are all 0."""
        return bool(self.shares.any())


def recency(
    item_idx: Int32Array, ts: Int64Array, n_items: int, half_life_days: tuple[float, ...]
) -> Recency:
    """Compute the shares; without half-lives, or without times to tell apart, all are 0.

    Args:
        item_idx: int32, ``(n_pairs,)``.
        ts: Microseconds, int64, ``(n_pairs,)``.
        n_items: How many items there are.
        half_life_days: One feature for each.
    """
    # Of ratings none may be positive, and then there is no time at all.
    at = np.quantile(ts if len(ts) else [0], np.linspace(0, 1, _TIMES, endpoint=False))
    starts = np.unique(at.astype(np.int64))
    if len(starts) < _MIN_TIMES or not half_life_days:
        still = np.zeros((2, n_items, 1), dtype=np.float32)
        return Recency(np.zeros(len(ts), dtype=np.int32), still)
    time = np.searchsorted(starts, ts, side="right") - 1
    counts = _decayed_counts(
        item_idx, ts, time, np.append(starts, ts.max()), n_items, half_life_days
    )
    total = counts.sum(axis=1, keepdims=True)
    # After a long gap the total is next to nothing, and what is divided by it alone is infinite.
    shares = n_items * np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    return Recency(time.astype(np.int32), np.log(shares + _SMOOTHING).astype(np.float32))


def _decayed_counts(
    item_idx: Int32Array,
    ts: Int64Array,
    time: npt.NDArray[np.int64],
    starts: Int64Array,
    n_items: int,
    half_life_days: tuple[float, ...],
) -> Float32Array:
    """Return the decayed interactions before each start, ``(n_times + 1, n_items, n_half_lives)``.

    At the next start the running counts are halved once per half-life since, and what happened in
    between is added, each at its own age.
    """
    order = np.argsort(time, kind="stable")
    bounds = np.searchsorted(time[order], np.arange(len(starts)))
    counts = np.zeros((len(starts), n_items, len(half_life_days)), dtype=np.float32)
    for step in range(1, len(starts)):
        rows = order[bounds[step - 1] : bounds[step]]
        passed = (starts[step] - starts[step - 1]) / MICROSECONDS_PER_DAY
        age = (starts[step] - ts[rows]) / MICROSECONDS_PER_DAY
        for position, half_life in enumerate(half_life_days):
            new = np.bincount(item_idx[rows], np.exp2(-age / half_life), n_items)
            kept = counts[step - 1, :, position] * np.exp2(-passed / half_life)
            counts[step, :, position] = kept + new
    return counts
