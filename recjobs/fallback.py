"""The popular lists: what a user gets whom a model does not know, or whose list it leaves short."""

from __future__ import annotations

import numpy as np

from recjobs.columns import EVERYBODY
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.models.popular import PopularSettings, by_segment


class Fallback:
    """Each segment's popular list, best first, ties by item index; every candidate is on it.

    Args:
        train: Where the popularity is counted.
        candidates: bool, ``(n_items,)``.

    Attributes:
        segments: Whose lists: the segments of the users, and last everybody.
        orders: int32, ``(n_segments + 1, n_candidates)``.
        scores: The popularity of each, float32, ``(n_segments + 1, n_candidates)``.
    """

    def __init__(self, train: TrainingSet, candidates: BoolArray) -> None:
        score = by_segment(train, PopularSettings().half_life_days)[:, candidates]
        place = np.argsort(-score, axis=1, kind="stable")
        self._segment_of = train.log.segments.of
        self.segments = (*train.log.segments.names, EVERYBODY)
        self.orders = np.flatnonzero(candidates).astype(np.int32)[place]
        self.scores = np.take_along_axis(score, place, axis=1)

    @property
    def order(self) -> Int32Array:
        """Everybody's list, int32 ``(n_candidates,)``."""
        everybody: Int32Array = self.orders[-1]
        return everybody

    def complete(
        self,
        users: Int32Array,
        seen: SeenItems,
        item_idx: Int32Array,
        score: Float32Array,
        filled: Int32Array,
    ) -> None:
        """Complete short lists in place, each from the list of its user's segment."""
        from recjobs import kernels

        segment = self._segment_of(users)
        for code in np.unique(segment):
            rows = np.flatnonzero(segment == code)
            items, scores = item_idx[rows], score[rows]
            kernels.fill_from(
                self.orders[code], self.scores[code], users[rows],
                seen.indptr, seen.indices, items, scores, filled[rows],
            )  # fmt: skip
            item_idx[rows], score[rows] = items, scores
