"""Who judges lists while a model is chosen: users of the validation part, and what they liked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from recjobs.dataset import BoolArray, Int32Array, Int64Array, SeenItems, TrainingSet, contains


@dataclass(frozen=True, slots=True)
class Judged:
    """The judging users, and what they liked in the validation part.

    Attributes:
        users: int32, ``(n_judged,)``.
        indptr: Of what they liked, int64, ``(n_judged + 1,)``.
        liked: int32; ascending within a user.
        seen: What a list leaves out.
        candidates: bool, ``(n_items,)``; what a list may contain.
    """

    users: Int32Array
    indptr: Int64Array
    liked: Int32Array
    seen: SeenItems
    candidates: BoolArray

    @classmethod
    def of(
        cls, train: TrainingSet, validation: TrainingSet, known_users: BoolArray, most: int
    ) -> Self:
        """Return an even choice of the users who liked something new in the validation part."""
        user = validation.user_idx
        pairs = user.astype(np.int64) * train.n_items + validation.item_idx
        before = train.user_idx.astype(np.int64) * train.n_items + train.item_idx
        keep = validation.positive & known_users[user] & ~contains(before, pairs)
        users = np.unique(user[keep])
        if len(users) > most:
            users = users[np.linspace(0, len(users) - 1, most).astype(int)]
        keep &= np.isin(user, users)
        counts = np.bincount(user[keep], minlength=train.n_users)[users]
        return cls(
            users.astype(np.int32),
            np.concatenate([[0], np.cumsum(counts)]),
            validation.item_idx[keep],
            SeenItems(train.indptr, train.item_idx),
            train.candidates,
        )
