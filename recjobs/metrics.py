"""Measures of ranked lists and of predicted ratings, with bootstrap intervals over users.

Arrays in, arrays or floats out. A measure of accuracy gives one value per user, so that two models
can be compared user by user: `mean_interval` of their differences draws users, never models.

A list is a row of ``recommended``, int32, ``(n_users, n)``, best first, -1 where it is shorter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recjobs.dataset import BoolArray, Int32Array, Int64Array, contains

Float64Array = npt.NDArray[np.float64]

#: Counts that a bootstrap holds at a time: 32 MiB of float64.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are drawn.

    Attributes:
        draws: How many times the users are drawn with replacement.
        confidence: Such as 0.95.
        seed: The same seed and number of users give the same draws.
    """

    draws: int = 1000
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bootstrap interval."""

    value: float
    low: float
    high: float


def hits(recommended: Int32Array, indptr: Int64Array, relevant: Int32Array) -> BoolArray:
    """Tell which recommended items are relevant to their user.

    Args:
        recommended: int32, ``(n_users, n)``.
        indptr: int64, ``(n_users + 1,)``; user ``u``'s relevant items are
            ``relevant[indptr[u]:indptr[u + 1]]``.
        relevant: int32; ascending and distinct within a user.

    Returns:
        bool, ``(n_users, n)``.
    """
    if not (recommended.size and len(relevant)):
        return np.zeros(recommended.shape, dtype=np.bool_)
    n_users = len(recommended)
    stride = int(max(recommended.max(), relevant.max())) + 1
    rows = np.arange(n_users, dtype=np.int64)
    # One ascending key per (user, item): membership for everyone is one binary search.
    known = np.repeat(rows, np.diff(indptr)) * stride + relevant
    return contains(known, rows[:, None] * stride + recommended) & (recommended >= 0)


def ndcg(hit: BoolArray, n_relevant: Int64Array, k: int) -> Float64Array:
    """Return each user's NDCG at k: binary gains, ideal over ``min(k, n_relevant)`` places.

    Args:
        hit: bool, ``(n_users, n)``, from `hits`.
        n_relevant: int64, ``(n_users,)``.
        k: The cutoff.

    Returns:
        float64, ``(n_users,)``; 0 for a user without relevant items.
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    gained = hit[:, :k] @ discount[: hit.shape[1]]
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(n_relevant, k)]
    return _share(gained, ideal)


def recall(hit: BoolArray, n_relevant: Int64Array, k: int) -> Float64Array:
    """Return each user's share of relevant items found in the first k, float64 ``(n_users,)``."""
    found = hit[:, :k].sum(axis=1)
    return _share(found, n_relevant)


def hit_rate(hit: BoolArray, k: int) -> Float64Array:
    """Return 1 for each user with a relevant item in the first k, else 0, float64."""
    found: BoolArray = np.asarray(hit[:, :k].any(axis=1))
    return found.astype(np.float64)


def mrr(hit: BoolArray) -> Float64Array:
    """Return one over the rank of each user's first hit, 0 without one, float64 ``(n_users,)``."""
    if not hit.shape[1]:
        return np.zeros(len(hit))
    return _share(hit.any(axis=1), hit.argmax(axis=1) + 1)


def exposure(recommended: Int32Array, candidates: BoolArray) -> Int64Array:
    """Return in how many lists each candidate is, int64 ``(n_candidates,)``."""
    counts = np.bincount(recommended[recommended >= 0], minlength=len(candidates))
    exposed: Int64Array = counts[candidates]
    return exposed


def coverage(exposed: Int64Array) -> float:
    """Return the share of candidates that are in at least one list."""
    return float((exposed > 0).mean()) if len(exposed) else 0.0


def gini(exposed: Int64Array) -> float:
    """Return the Gini index of exposure: 0 where all candidates get the same, near 1 where one
    gets all; 0 without any exposure.
    """  # noqa: D205 (one sentence)
    total = exposed.sum()
    if not total:
        return 0.0
    n = len(exposed)
    rank = np.arange(1, n + 1)
    return float(2 * (rank @ np.sort(exposed)) / (n * total) - (n + 1) / n)


def mean_popularity(recommended: Int32Array, popularity: Float64Array) -> Float64Array:
    """Return the mean popularity of each user's list.

    Args:
        recommended: int32, ``(n_users, n)``.
        popularity: float64, ``(n_items,)``, such as the share of users who chose the item.

    Returns:
        float64, ``(n_users,)``; 0 for an empty list.
    """
    given = recommended >= 0
    total = np.where(given, popularity[np.where(given, recommended, 0)], 0.0).sum(axis=1)
    length = given.sum(axis=1)
    return _share(total, length)


def rmse(error: Float64Array) -> float:
    """Return the root of the mean square of errors, predicted minus true."""
    return float(np.sqrt(np.mean(error**2)))


def mae(error: Float64Array) -> float:
    """Return the mean of the errors' sizes."""
    return float(np.mean(np.abs(error)))


def resample(values: Float64Array, bootstrap: Bootstrap) -> Float64Array:
    """Return the sums of values over users drawn with replacement, as many as there are.

    Args:
        values: float64, ``(n_users, n_columns)``; at least one user.
        bootstrap: The draws, the same for every column.

    Returns:
        float64, ``(draws, n_columns)``.
    """
    from recjobs.draw_kernels import count_draws

    n_users, draws = len(values), bootstrap.draws
    rng = np.random.default_rng(bootstrap.seed)
    block = min(draws, max(1, _BLOCK // n_users))
    counts = np.empty((block, n_users))
    sums = np.empty((draws, values.shape[1]))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        count_draws(rng.integers(0, n_users, (size, n_users), dtype=np.int32), counts[:size])
        sums[start : start + size] = counts[:size] @ values
    return sums


def mean_interval(values: Float64Array, bootstrap: Bootstrap) -> list[Interval]:
    """Return the mean over users of each column, with its percentile bootstrap interval.

    Args:
        values: float64, ``(n_users, n_columns)``; at least one user.
        bootstrap: The draws.
    """
    means = resample(values, bootstrap) / len(values)
    return _intervals(values.mean(axis=0), means, bootstrap)


def error_intervals(
    error: Float64Array, owner: Int64Array, bootstrap: Bootstrap
) -> tuple[Interval, Interval]:
    """Return RMSE and MAE over pairs, with intervals over the users who own the pairs.

    Args:
        error: Predicted minus true, float64, ``(n_pairs,)``; at least one.
        owner: Whose pair it is, int64, ``(n_pairs,)``.
        bootstrap: The draws.
    """
    _, user = np.unique(owner, return_inverse=True)
    totals = [np.bincount(user), np.bincount(user, error**2), np.bincount(user, np.abs(error))]
    pairs, squares, absolutes = resample(np.column_stack(totals).astype(np.float64), bootstrap).T
    drawn = np.column_stack([np.sqrt(squares / pairs), absolutes / pairs])
    found = _intervals(np.array([rmse(error), mae(error)]), drawn, bootstrap)
    return found[0], found[1]


def _intervals(values: Float64Array, drawn: Float64Array, bootstrap: Bootstrap) -> list[Interval]:
    tail = (1 - bootstrap.confidence) / 2
    lows, highs = np.quantile(drawn, [tail, 1 - tail], axis=0)
    rows = zip(values, lows, highs, strict=True)
    return [Interval(float(v), float(low), float(high)) for v, low, high in rows]


def _share(part: npt.ArrayLike, whole: npt.ArrayLike) -> Float64Array:
    whole = np.asarray(whole)
    share: Float64Array = np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
    return share
