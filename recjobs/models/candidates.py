"""A blend's best items for a block of users, and what is known of them: what a reranker reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.models.recency import recency
from recjobs.topn import top_n_of_scores

#: Of the recent popularity, in days.
_HALF_LIVES: Final = (1.0, 3.0, 7.0, 30.0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of items and users without any model.

    Attributes:
        items: Log popularity, in all and of late, and log days since the first interaction,
            float32 ``(n_items, n_facts)``.
        history: Length of each user's, int32 ``(n_users,)``.
    """

    items: Float32Array
    history: Int32Array

    @classmethod
    def of(cls, train: TrainingSet) -> Self:
        """Count a training set."""
        liked = train.positive
        count = np.bincount(train.item_idx[liked], minlength=train.n_items)
        late = recency(train.item_idx[liked], train.ts[liked], train.n_items, _HALF_LIVES)
        end = train.ts.max()
        first = np.full(train.n_items, end)
        np.minimum.at(first, train.item_idx, train.ts)
        age = np.log1p((end - first) / MICROSECONDS_PER_DAY)
        # One column of 0 where there are too few times to tell; the reranker expects all.
        shares = np.broadcast_to(late.shares[-1], (train.n_items, len(_HALF_LIVES)))
        items = np.column_stack([np.log1p(count), shares, age]).astype(np.float32)
        return cls(items, np.diff(train.indptr).astype(np.int32))


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best items of some users by the blend, best first.

    Attributes:
        item_idx: int32, ``(b, c)``; -1 where there is none.
        blended: The blend's scores, float32 ``(b, c)``; -inf where there is none.
        features: float32, ``(b, c, n_features)``.
    """

    item_idx: Int32Array
    blended: Float32Array
    features: Float32Array

    @classmethod
    def of(
        cls,
        users: Int32Array,
        facts: Facts,
        every: list[Float32Array],
        blended: Float32Array,
        known: BoolArray,
        most: int,
    ) -> Self:
        """Look up a block of users.

        Args:
            users: int32, ``(b,)``.
            facts: Of the training set.
            every: Each model's scaled scores, ``(b, n_items)``.
            blended: Their weighted sum; -inf where no model knows the item.
            known: bool, ``(n_items,)``.
            most: How many a user has; as many more as the user's history is long, but at most
                twice as many, for lists mostly leave that out.
        """
        reach = most + np.minimum(facts.history[users], most)
        nothing = SeenItems(np.zeros(len(facts.history) + 1, np.int64), np.empty(0, np.int32))
        item_idx, score = top_n_of_scores(
            blended.copy(), users, nothing, known, min(2 * most, int(known.sum()))
        )
        beyond = np.arange(item_idx.shape[1]) >= reach[:, None]
        item_idx[beyond], score[beyond] = -1, -np.inf
        item = np.maximum(item_idx, 0)
        features = np.empty((*item.shape, len(every) + 2 + facts.items.shape[1]), dtype=np.float32)
        for number, scores in enumerate(every):
            features[:, :, number] = np.take_along_axis(scores, item, axis=1)
        features[:, :, len(every)] = np.log2(2 + np.arange(item.shape[1]))
        features[:, :, len(every) + 1] = np.log1p(facts.history[users])[:, None]
        features[:, :, len(every) + 2 :] = facts.items[item]
        return cls(item_idx, score, features)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return those of several blocks of users as one."""
        return cls(
            np.concatenate([each.item_idx for each in parts]),
            np.concatenate([each.blended for each in parts]),
            np.concatenate([each.features for each in parts]),
        )

    def only(self, wanted: BoolArray) -> Self:
        """Return the wanted of them, bool ``(b, c)``, moved up."""
        wanted = wanted & (self.item_idx >= 0)
        first = np.argsort(~wanted, axis=1, kind="stable")[:, : int(wanted.sum(axis=1).max())]
        there = np.take_along_axis(wanted, first, axis=1)
        return type(self)(
            np.where(there, np.take_along_axis(self.item_idx, first, axis=1), -1),
            np.where(there, np.take_along_axis(self.blended, first, axis=1), -np.inf),
            np.take_along_axis(self.features, first[:, :, None], axis=1),
        )

    def of_rows(self, rows: BoolArray) -> Self:
        """Return those of some of the users."""
        return type(self)(self.item_idx[rows], self.blended[rows], self.features[rows])
