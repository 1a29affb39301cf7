"""Exact lists from any model, in the way that suits it."""

from __future__ import annotations

from typing import Final

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.models.base import BlockModel, FactorModel, Model
from recjobs.topn import FactorRanker, empty_lists

#: Scores that a block model holds at a time: 256 MB.
_SCORES: Final = 1 << 26


class Ranker:
    """Ranks the candidates that a model knows, for users that it knows.

    Args:
        model: A fitted model.
        candidates: bool, ``(n_items,)``; the others are never returned.
    """

    def __init__(self, model: Model, candidates: BoolArray) -> None:
        self._candidates = candidates & model.known_items
        self._factors: FactorRanker | None = None
        if isinstance(model, FactorModel):
            self._users, items = model.factors()
            self._factors = FactorRanker(items, self._candidates)
        elif isinstance(model, BlockModel):
            self._model = model
        else:
            raise TypeError(
                f"model {model.name}: expected a FactorModel or a BlockModel. "
                f"Received: {type(model).__name__}"
            )

    def top_n(self, users: Int32Array, seen: SeenItems, n: int) -> tuple[Int32Array, Float32Array]:
        """Return each user's n best unseen candidates.

        Args:
            users: int32, ``(b,)``; known to the model.
            seen: What is left out.
            n: Length of a list.

        Returns:
            Item indexes int32 ``(b, n)``, -1 padded, and scores float32 ``(b, n)``, -inf padded.
        """
        if self._factors is not None:
            return self._factors.top_n(self._users, users, seen, n)
        item_idx, score = empty_lists(len(users), n)
        step = max(1, _SCORES // max(len(self._candidates), 1))
        for start in range(0, len(users), step):
            part = slice(start, start + step)
            item_idx[part], score[part] = self._model.top_n(users[part], seen, self._candidates, n)
        return item_idx, score
