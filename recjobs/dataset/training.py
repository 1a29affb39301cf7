"""Training sets: rows of the log, aggregated to one row per (user, item)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import sparse

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from recjobs.dataset.log import Interactions
from recjobs.errors import ConfigError, DataError
from recjobs.index import Index
from recjobs.pairs import pairs_of, taken

#: What a positive weighs at least, however old: float32 is exact down to 1e-38, and models divide
#: by squares of log2(1 + weight), by sums of them and by products of two.
_LEAST_WEIGHT: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Sequences:
    """Per user, what they liked one after the other, repeats kept, in CSR form.

    Attributes:
        indptr: int64, ``(n_users + 1,)``.
        item_idx: int32, ``(n_rows,)``; oldest first within a user, ties in the order of the log.
        ts: Microseconds, int64, ``(n_rows,)``.
    """

    indptr: Int64Array
    item_idx: Int32Array
    ts: Int64Array


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Interactions aggregated to one row per (user, item), in CSR order.

    Attributes:
        log: What it was cut from; all sets cut from one log share its indexes.
        rows: bool, ``(n_rows,)``; the rows of the log that are taken.
        liked: bool, ``(n_rows,)``; the rows of the log that are taken and are positives.
        indptr: int64, ``(n_users + 1,)``; user ``u`` owns rows ``indptr[u]:indptr[u + 1]``.
        item_idx: int32, ``(n_pairs,)``; ascending within a user.
        rating: The last rating, float32, ``(n_pairs,)``; NaN where there is none.
        weight: The decayed sum of the positives' weights, float32, ``(n_pairs,)``; at least 1e-9
            for a pair that is positive, 0 for another.
        positive: bool, ``(n_pairs,)``.
        ts: The last interaction, of a positive the last that says so, microseconds, int64,
            ``(n_pairs,)``.
        trained: bool, ``(n_users,)``; users with enough history to be trained on.
        candidates: bool, ``(n_items,)``; known before ``as_of``, available, with enough history
            or newly created.
        feedback: ``"explicit"`` (ratings) or ``"implicit"``.
        exclude_seen: The rule of what must not be recommended again; see `seen_rows`.
        as_of: Everything here happened before it; microseconds.
    """

    log: Interactions
    rows: BoolArray
    liked: BoolArray
    indptr: Int64Array
    item_idx: Int32Array
    rating: Float32Array
    weight: Float32Array
    positive: BoolArray
    ts: Int64Array
    trained: BoolArray
    candidates: BoolArray
    feedback: Literal["explicit", "implicit"]
    exclude_seen: str
    as_of: int

    @property
    def users(self) -> Index:
        """The users' index."""
        return self.log.users

    @property
    def items(self) -> Index:
        """The items' index."""
        return self.log.items

    @property
    def n_users(self) -> int:
        """Users in the index, with or without rows here."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Items in the index, with or without rows here."""
        return len(self.items)

    @property
    def n_pairs(self) -> int:
        """Distinct (user, item) pairs."""
        return len(self.item_idx)

    @property
    def user_idx(self) -> Int32Array:
        """The user of each pair, int32, ``(n_pairs,)``."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.indptr))

    @property
    def history(self) -> Int64Array:
        """The number of pairs of each user, int64, ``(n_users,)``."""
        return np.diff(self.indptr)

    @property
    def rating_range(self) -> tuple[float, float]:
        """The least and the greatest rating of all rows; (nan, nan) without ratings."""
        known = self.log.rating[self.rows & ~np.isnan(self.log.rating)]
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    def positives(self) -> sparse.csr_matrix:
        """Return the trained users' positives, float32 CSR ``(n_users, n_items)`` of weights."""
        keep = self.positive & self.trained[self.user_idx]
        indptr = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        shape = (self.n_users, self.n_items)
        return sparse.csr_matrix((self.weight[keep], self.item_idx[keep], indptr), shape=shape)

    def sequences(self) -> Sequences:
        """Return what the trained users liked, one after the other."""
        rows = np.flatnonzero(self.liked & self.trained[self.log.user_idx])
        counts = np.bincount(self.log.user_idx[rows], minlength=self.n_users)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return Sequences(indptr, self.log.item_idx[rows], self.log.ts[rows])

    def require_rows(self) -> None:
        """Refuse an empty set.

        Raises:
            DataError: No trained user has a positive (or, with ratings, a rating).
        """
        usable = self.trained[self.user_idx]
        usable &= ~np.isnan(self.rating) if self.feedback == "explicit" else self.positive
        if not usable.any():
            raise self.without("ratings" if self.feedback == "explicit" else "positives")

    def without(self, needed: str) -> DataError:
        """Return the error of a set that has none of what is needed, such as "positives"."""
        return DataError(
            f"the training set has nothing to learn from: {self.n_pairs} pairs, of which 0 are "
            f"{needed} of users with enough history. Check feedback.positive_at, "
            "feedback.event_weights and the holdout."
        )


def training_set(
    log: Interactions, rows: BoolArray, as_of: int, feedback: FeedbackSettings
) -> TrainingSet:
    """Aggregate the chosen rows of the log to one row per (user, item).

    The last rating counts; weights of positives are summed, each halved per half-life before
    ``as_of``. A pair is positive by its last rating, or by any of its events.

    Args:
        log: The whole log.
        rows: bool, ``(n_rows,)``; the rows to take.
        as_of: Microseconds; the age of an interaction is counted from it.
        feedback: What an interaction says.

    Raises:
        ConfigError: The settings name an event type or a rating that the log does not have.
    """
    from recjobs.pair_kernels import last_where, sum_pairs

    positive, weight = _positives(log, feedback)
    pairs = pairs_of(log.indptr, log.item_idx, rows)
    newest = pairs.newest
    half_life = (feedback.half_life_days or np.inf) * MICROSECONDS_PER_DAY
    # What follows a rating without one, a view say, does not take it back.
    rated = ~np.isnan(log.rating)
    partly = rated.any() and not rated.all()
    rating_row = last_where(pairs.rows, newest, rated) if partly else newest
    total = sum_pairs(pairs.rows, newest, weight, log.ts, as_of, half_life)
    chosen = newest
    if feedback.event_weights:
        kept = sum_pairs(pairs.rows, newest, weight, log.ts, as_of, np.inf) > 0
        chosen = last_where(pairs.rows, newest, positive)  # a view does not make a purchase new
    else:
        kept = positive[rating_row]
    np.maximum(total, _LEAST_WEIGHT, out=total)
    total *= kept
    (item_idx,), (ts,) = taken(newest, log.item_idx), taken(chosen, log.ts)
    (rating,) = taken(rating_row, log.rating)
    return TrainingSet(
        log=log,
        rows=rows,
        liked=rows & positive,
        indptr=pairs.indptr,
        item_idx=item_idx,
        rating=rating,
        weight=total,
        positive=kept,
        ts=ts,
        trained=pairs.user_rows >= feedback.min_user_interactions,
        candidates=candidates_of(log, rows, as_of, feedback),
        feedback=feedback.kind,
        exclude_seen=feedback.exclude_seen,
        as_of=as_of,
    )


def candidates_of(
    log: Interactions, rows: BoolArray, as_of: int, feedback: FeedbackSettings
) -> BoolArray:
    """Return what may be recommended, bool ``(n_items,)``; see `TrainingSet.candidates`."""
    from recjobs.pair_kernels import count_items

    count = count_items(log.item_idx, rows, len(log.items))
    new = (log.item_created < as_of) & (count == 0)
    known: BoolArray = (count >= feedback.min_item_interactions) | new
    return known & log.available


def _positives(log: Interactions, feedback: FeedbackSettings) -> tuple[BoolArray, Float32Array]:
    """Return which rows are positives, and each row's weight (0 where it is none)."""
    if feedback.event_weights:
        log.event_codes(list(feedback.event_weights), "event_weights")
        by_name = [feedback.event_weights.get(name, 0.0) for name in log.event_names]
        weight = np.array([*by_name, 0.0], dtype=np.float32)[log.event]  # -1: no event
        return weight > 0, weight
    rating = log.rating
    if feedback.kind == "explicit" and len(rating) and np.isnan(rating).all():
        raise ConfigError(
            'feedback.kind = "explicit" needs source.rating, the column of ratings; none was read'
        )
    # An interaction without a rating is a positive: to act on an item is to choose it.
    positive = np.isnan(rating) | (rating >= feedback.positive_at)
    return positive, positive.astype(np.float32)
