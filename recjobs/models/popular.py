"""Time-decayed popularity: the floor that every model must beat, and the fallback.

Score: the sum, over the users who liked the item, of their damped weight over 1 + age /
``half_life_days``, where the age is counted from the newest interaction of all. So an interaction
counts half at that age and a third at twice that age: unlike an exponential decay this suits data
that drifts within days as well as data that hardly drifts. Where the users have segments
(``source.users.segment``), each has a popularity of its own. Nothing is sampled.

Ji, Sun, Zhang and Li, "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import Section
from recjobs.dataset import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    SeenItems,
    TrainingSet,
)
from recjobs.models.base import CLOSED_FORM, Arrays, BlockModel, History
from recjobs.progress import Progress, silent
from recjobs.topn import empty_lists

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]

#: Everybody's interactions that a segment's own are completed by.
_PRIOR = 20.0


class PopularSettings(Section):
    """Hyperparameters of `Popular`."""

    half_life_days: float = Field(default=3.0, gt=0)  #: an interaction this old counts half


class Orders:
    """Each segment's items, best first, ties by item index; every candidate is among them.

    Args:
        popularity: float32, ``(n_segments + 1, n_items)``; the last row is everybody's.
        candidates: bool, ``(n_items,)``.

    Attributes:
        orders: int32, ``(n_segments + 1, n_candidates)``.
        scores: The popularity of each, float32, ``(n_segments + 1, n_candidates)``.
    """

    def __init__(self, popularity: Float32Array, candidates: BoolArray) -> None:
        score = popularity[:, candidates]
        place = np.argsort(-score, axis=1, kind="stable")
        self.orders = np.flatnonzero(candidates).astype(np.int32)[place]
        self.scores = np.take_along_axis(score, place, axis=1)

    def complete(
        self,
        segment: Int16Array,
        users: Int32Array,
        seen: SeenItems,
        item_idx: Int32Array,
        score: Float32Array,
        filled: Int32Array,
    ) -> None:
        """Complete short lists in place, each from the order of its user's segment.

        Args:
            segment: Of each user, int16 ``(b,)``; -1 for none.
            users: int32, ``(b,)``.
            seen: What is left out.
            item_idx: int32, ``(b, n)``, -1 padded.
            score: float32, ``(b, n)``, -inf padded.
            filled: How many entries each list has, int32 ``(b,)``.
        """
        from recjobs import kernels

        for code in np.unique(segment):
            rows = np.flatnonzero(segment == code)
            items, scores = item_idx[rows], score[rows]
            kernels.fill_from(
                self.orders[code], self.scores[code], users[rows],
                seen.indptr, seen.indices, items, scores, filled[rows],
            )  # fmt: skip
            item_idx[rows], score[rows] = items, scores


class Popular(BlockModel):
    """Everybody's list in a segment is the same, but for what they have seen."""

    name: ClassVar[str] = "popular"
    Settings: ClassVar[type[Section]] = PopularSettings
    settings: PopularSettings
    _popularity: Float32Array
    _segment: Int16Array
    _orders: tuple[BoolArray, Orders] | None = None

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Count; see `Model.fit`."""
        train.require_rows()
        self._popularity = by_segment(train, self.settings.half_life_days)
        self._orders = None
        self._segment = train.log.segments.of(np.arange(train.n_users, dtype=np.int32))
        self.known_users = train.trained & (train.history > 0)
        self.known_items = np.ones(train.n_items, dtype=np.bool_)
        return CLOSED_FORM

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return each user's segment's popularity; see `BlockModel.score_block`."""
        return self._popularity[self._segment[user_idx]]

    def top_n(
        self, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the first unseen of each user's segment; see `BlockModel.top_n`."""
        if self._orders is None or not np.array_equal(self._orders[0], candidates):
            self._orders = candidates.copy(), Orders(self._popularity, candidates)
        item_idx, score = empty_lists(len(users), n)
        nothing = np.zeros(len(users), dtype=np.int32)
        self._orders[1].complete(self._segment[users], users, seen, item_idx, score, nothing)
        return item_idx, score

    def relation(self) -> None:
        """Popularity relates no items."""
        return None

    def _state(self) -> Arrays:
        return {"popularity": self._popularity, "segment": self._segment}

    def _restore(self, arrays: Arrays) -> None:
        self._popularity, self._segment = arrays["popularity"], arrays["segment"]


def popularity(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return each item's time-decayed popularity, float32 ``(n_items,)``."""
    nobody = np.full(train.n_users, -1, dtype=np.int64)
    everybody: Float32Array = _counted(train, half_life_days, nobody, 0)[-1].astype(np.float32)
    return everybody


def by_segment(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return the popularity in each segment of users, and last everybody's.

    A segment's own counts are completed by `_PRIOR` of everybody's, so that a small one follows the
    others until it has a say. A user's segment is the row: -1, none, is the last.

    Returns:
        float32 ``(n_segments + 1, n_items)``.
    """
    segments = train.log.segments
    segment = segments.of(np.arange(train.n_users, dtype=np.int32)).astype(np.int64)
    counted = _counted(train, half_life_days, segment, len(segments.names))
    everybody = counted[-1].astype(np.float32)
    counted[:-1] += _PRIOR * everybody / max(everybody.sum(), 1e-9)
    return counted.astype(np.float32)


def _counted(
    train: TrainingSet, half_life_days: float, segment: Int64Array, n_segments: int
) -> Float64Array:
    """Return what the positives count, by their user's segment and item, and last everybody's."""
    from recjobs.models import popular_kernels

    counted = np.zeros((n_segments + 1, train.n_items))
    earliest = np.iinfo(np.int64).min  # where there is no positive
    newest = train.ts.max(initial=earliest, where=train.positive)
    popular_kernels.count_popularity(
        train.indptr, train.item_idx, train.positive, train.weight, train.ts,
        newest, half_life_days * MICROSECONDS_PER_DAY, segment, counted,
    )  # fmt: skip
    return counted
