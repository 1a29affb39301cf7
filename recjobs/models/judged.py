"""Who judges lists while a model is chosen: users of the validation part, and what they liked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from recjobs.dataset import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    SeenItems,
    TrainingSet,
    contains,
    seen_of,
)
from recjobs.metrics import ndcg


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
        """Return an even choice of the users who liked what a list may hold in the validation part.

        What a list leaves out goes by ``feedback.exclude_seen``, as where the holdout is judged;
        its days are those before the newest row that is learned from.
        """
        user = validation.user_idx
        seen = seen_of(train, int(train.ts.max()) + 1)
        keep = validation.positive & known_users[user] & ~seen.holds(user, validation.item_idx)
        users = np.unique(user[keep])
        if len(users) > most:
            users = users[np.linspace(0, len(users) - 1, most).astype(int)]
        keep &= np.isin(user, users)
        counts = np.bincount(user[keep], minlength=train.n_users)[users]
        return cls(
            users.astype(np.int32),
            np.concatenate([[0], np.cumsum(counts)]),
            validation.item_idx[keep],
            seen,
            train.candidates,
        )

    def likes(self, rows: slice, item_idx: Int32Array) -> BoolArray:
        """Tell which items some of the users liked, bool ``(b, c)``; -1 is no item."""
        start, stop = self.indptr[rows.start], self.indptr[rows.stop]
        many = np.diff(self.indptr[rows.start : rows.stop + 1])
        row = np.arange(len(item_idx), dtype=np.int64)
        n_items = len(self.candidates)
        pairs = np.repeat(row, many) * n_items + self.liked[start:stop]
        liked: BoolArray = contains(pairs, row[:, None] * n_items + item_idx) & (item_idx >= 0)
        return liked


def ndcg_by(
    scores: Float32Array, liked: BoolArray, many: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return each user's NDCG@10 where the scores order what was, or was not, liked.

    Args:
        scores: ``(b, c)``.
        liked: ``(b, c)``.
        many: How much each user liked, ``(b,)``.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    return ndcg(np.take_along_axis(liked, order, axis=1), many, 10)
