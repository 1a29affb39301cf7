"""What a protocol hands back: metrics with their intervals, counts, and the seconds of scoring."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recjobs.metrics import Bootstrap, Float64Array, Interval, mean_interval


@dataclass(frozen=True, slots=True)
class Figures:
    """The outcome of one protocol.

    Attributes:
        metrics: By name, such as ``ndcg@10``.
        counts: Of users, pairs and candidates, and of what was left out.
        score_seconds: Of scoring and ranking, without what is computed from the ranks.
        users: Positions in E's users, whose each value is; none where values are not by user.
        values: Each metric's value for each of the users, float64 ``(n_users,)``.
    """

    metrics: dict[str, Interval]
    counts: dict[str, int]
    score_seconds: float
    users: npt.NDArray[np.integer]
    values: dict[str, Float64Array]


def means(values: dict[str, Float64Array], seed: int) -> dict[str, Interval]:
    """Return the mean over users of each metric, with its bootstrap interval.

    Args:
        values: float64, ``(n_users,)`` each; at least one user.
        seed: Of the draws.
    """
    stacked = np.column_stack(list(values.values()))
    return dict(zip(values, mean_interval(stacked, Bootstrap(seed=seed)), strict=True))
