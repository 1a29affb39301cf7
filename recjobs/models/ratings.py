"""The ratings of a training set, in shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, TrainingSet


class Ratings:
    """The trained users' ratings.

    Args:
        train: With at least one rating of a trained user.
        batch_size: Ratings in a batch; None: a 128th of them, at least 256 and at most
            8,192.
        seed: Of the order.

    Attributes:
        known_users: bool, ``(n_users,)``.
        known_items: bool, ``(n_items,)``.
        mean: Of all ratings.
    """

    known_users: BoolArray
    known_items: BoolArray

    def __init__(self, train: TrainingSet, batch_size: int | None, seed: int) -> None:
        user = train.user_idx
        keep = ~np.isnan(train.rating) & train.trained[user]
        self._user, self._item = user[keep], train.item_idx[keep]
        self.mean = float(train.rating[keep].mean(dtype=np.float64))
        self._centred: Float32Array = train.rating[keep] - np.float32(self.mean)
        self.known_users = np.bincount(self._user, minlength=train.n_users) > 0
        self.known_items = np.bincount(self._item, minlength=train.n_items) > 0
        self._size = batch_size or int(np.clip(len(self._user) // 128, 256, 8192))
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self._user)

    def batches(self) -> Iterator[tuple[Int32Array, Int32Array, Float32Array]]:
        """Yield users, items and ratings less their mean, all once, in a new order."""
        order = self._rng.permutation(len(self._user))
        for start in range(0, len(order), self._size):
            rows = order[start : start + self._size]
            yield self._user[rows], self._item[rows], self._centred[rows]
