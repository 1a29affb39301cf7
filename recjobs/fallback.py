"""The popular lists: what a user gets whom a model does not know, or whose list it leaves short."""

from __future__ import annotations

from recjobs.columns import EVERYBODY
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.models.popular import Orders, PopularSettings, by_segment


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
        popularity = by_segment(train, PopularSettings().half_life_days)
        self._orders = Orders(popularity, candidates)
        self.orders, self.scores = self._orders.orders, self._orders.scores
        self._segment_of = train.log.segments.of
        self.segments = (*train.log.segments.names, EVERYBODY)

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
        self._orders.complete(self._segment_of(users), users, seen, item_idx, score, filled)
