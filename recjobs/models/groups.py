"""Positives grouped by (user, time): the unit that a softmax over the catalogue is computed for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, Int64Array, TrainingSet
from recjobs.models.base import known_of, strengths
from recjobs.models.recency import recency
from recjobs.topn import columns_of


@dataclass(frozen=True, slots=True)
class Batch:
    """Some groups, and all their positives.

    Attributes:
        user: The user of each group, int32 ``(n_groups,)``.
        time: The time of each group, int32 ``(n_groups,)``.
        group: The group of each positive within the batch, int32 ``(n_pairs,)``.
        column: The item of each positive, as a column, int32 ``(n_pairs,)``.
        weight: Its strength, float32 ``(n_pairs,)``.
    """

    user: Int32Array
    time: Int32Array
    group: Int32Array
    column: Int32Array
    weight: Float32Array


class Groups:
    """A training set's positives, grouped; items are columns: those with a positive, in order.

    Args:
        train: Whose positives.
        recency_days: Half-lives of the recent popularity; without any, times are not told apart.

    Attributes:
        known_users: bool, ``(n_users,)``.
        known_items: bool, ``(n_items,)``.
        item_of: The item of each column, int32 ``(n_columns,)``.
        shares: Log shares of recent interactions, float32 ``(n_times + 1, n_columns, n_shares)``.
        first_bias: Where an item's learned bias best starts, float32 ``(n_columns,)``.
    """

    known_users: BoolArray
    known_items: BoolArray

    def __init__(self, train: TrainingSet, recency_days: tuple[float, ...]) -> None:
        matrix = strengths(train)
        self.known_users, self.known_items = known_of(matrix)
        self.item_of = np.flatnonzero(self.known_items).astype(np.int32)
        column = columns_of(self.item_of, train.n_items)[matrix.indices]
        user = np.repeat(np.arange(train.n_users, dtype=np.int64), np.diff(matrix.indptr))
        kept = train.positive & train.trained[train.user_idx]
        recent = recency(column, train.ts[kept], len(self.item_of), recency_days)
        self.shares = recent.shares
        count = np.bincount(column, minlength=len(self.item_of))
        # What the shares say from the start need not be learned; without them, popularity does.
        start = np.log(count / count.mean()) * (not recent.moves)
        self.first_bias = start.astype(np.float32)

        chance = 0.5 * count / count.sum() + 0.5 / len(count)
        self._cumulative = np.cumsum(chance) / chance.sum()
        self._log_chance = np.log(chance).astype(np.float32)

        key = user * len(self.shares) + recent.time
        order = np.argsort(key, kind="stable")
        key, start = np.unique(key[order], return_index=True)
        self._user, self._time = (
            part.astype(np.int32) for part in np.divmod(key, len(self.shares))
        )
        self._column, self._weight = column[order], matrix.data[order]
        self._indptr: Int64Array = np.append(start, len(order)).astype(np.int64)

    def __len__(self) -> int:
        return len(self._user)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Int32Array, Float32Array]:
        """Draw negatives for a batch, half of them evenly and half by popularity.

        Args:
            n: How many.
            rng: What to draw with.

        Returns:
            Columns int32 ``(n,)``, and the log of how often each was to be expected (logQ).
        """
        column = np.searchsorted(self._cumulative, rng.random(n)).astype(np.int32)
        return column, self._log_chance[column] + np.float32(np.log(n))

    @property
    def counts(self) -> tuple[Int64Array, Int64Array]:
        """Positives of each user ``(n_users,)`` and of each column ``(n_columns,)``."""
        user = np.repeat(self._user, np.diff(self._indptr))
        return (
            np.bincount(user, minlength=len(self.known_users)),
            np.bincount(self._column, minlength=len(self.item_of)),
        )

    @property
    def n_pairs(self) -> int:
        """Positives in all groups."""
        return len(self._column)

    def per_batch(self, batch_size: int | None, *, steps: int) -> int:
        """Return the groups in a batch of so many positives; default: for so many steps or more."""
        if batch_size is None:
            return int(np.clip(len(self) // steps, 16, 1024))
        return max(1, round(batch_size * len(self) / self.n_pairs))

    def batch(self, groups: Int64Array) -> Batch:
        """Return the batch of the given groups."""
        size = self._indptr[groups + 1] - self._indptr[groups]
        shift = self._indptr[groups] - np.concatenate([[0], np.cumsum(size)[:-1]])
        pairs = np.repeat(shift, size) + np.arange(size.sum())
        return Batch(
            user=self._user[groups],
            time=self._time[groups],
            group=np.repeat(np.arange(len(groups), dtype=np.int32), size),
            column=self._column[pairs],
            weight=self._weight[pairs],
        )
