"""The ratings of a training set, in shuffled batches."""

from __future__ import annotations

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, TrainingSet


class Ratings:
    """The trained users' ratings.

    Args:
        train: With at least one rating of a trained user.
        batch_size: Ratings in a batch; None: a 64th of them, at least 256 and at most
            8,192. Never more than there are.
        seed: Of the order.
        at_once: Where given, a default batch holds at most 4,096 ratings, and no more than so many
            of any one user or item on average.

    Attributes:
        user: Of each rating, int32.
        item: Of each rating, int32.
        known_users: bool, ``(n_users,)``.
        known_items: bool, ``(n_items,)``.
        size: Ratings in a batch.
        mean: Of all ratings.
        spread: Their standard deviation; 1 where they are all the same.
    """

    known_users: BoolArray
    known_items: BoolArray

    def __init__(
        self, train: TrainingSet, batch_size: int | None, seed: int, at_once: int | None = None
    ) -> None:
        user = train.user_idx
        keep = ~np.isnan(train.rating) & train.trained[user]
        self.user, self.item = user[keep], train.item_idx[keep]
        rating = train.rating[keep]
        self.mean = float(rating.mean(dtype=np.float64))
        self._centred: Float32Array = rating - np.float32(self.mean)
        self.spread = float(rating.std(dtype=np.float64)) if np.ptp(rating) else 1.0
        self.known_users = np.bincount(self.user, minlength=train.n_users) > 0
        self.known_items = np.bincount(self.item, minlength=train.n_items) > 0
        self.size = min(batch_size or self._default_size(at_once), len(self.user))
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.user)

    def shuffled(self) -> tuple[Int32Array, Int32Array, Float32Array]:
        """Return users, items and ratings less their mean, all once, in a new order."""
        order = self._rng.permutation(len(self.user))
        return self.user[order], self.item[order], self._centred[order]

    def batches(self) -> tuple[Int32Array, Int32Array, Float32Array]:
        """Return what `shuffled` returns, a batch per row; its first ones again fill the last."""
        user, item, centred = self.shuffled()
        shape = -(-len(user) // self.size), self.size
        return np.resize(user, shape), np.resize(item, shape), np.resize(centred, shape)

    def _default_size(self, at_once: int | None) -> int:
        size = len(self.user) // 64
        if at_once is None:
            return int(np.clip(size, 256, 8192))
        most = max(np.bincount(self.user).max(), np.bincount(self.item).max())
        return int(np.clip(min(size, at_once * len(self.user) // most), 32, 4096))
