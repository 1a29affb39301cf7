"""What the sequence models read: each user's last items, and batches of them for training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from recjobs.dataset import Int32Array, Int64Array, TrainingSet
from recjobs.topn import columns_of

#: Batches that are cut from one choice of users, who are first ordered by length: users of one
#: batch are of similar length, and little is padded.
_POOL: Final = 16


class Batch(NamedTuple):
    """Some users' histories, each its own row, padded at the end with column 0.

    Attributes:
        column: int32, ``(b, t)``; t is the longest of the batch.
        length: int32, ``(b,)``.
        place: Positions in the flattened batch that have a successor, int32, ``(p,)``.
        target: The successors' columns, int32, ``(p,)``.
    """

    column: Int32Array
    length: Int32Array
    place: Int32Array
    target: Int32Array


@dataclass(frozen=True, slots=True)
class Histories:
    """Per user, the last items they liked, oldest first, in CSR form.

    Attributes:
        indptr: int64, ``(n_users + 1,)``.
        column: int32, ``(n_kept,)``; positions in the model's list of known items.
    """

    indptr: Int64Array
    column: Int32Array

    @classmethod
    def of(cls, train: TrainingSet, item_of: Int32Array, length: int) -> Histories:
        """Keep the last ``length`` items of every trained user; ``item_of``: the known items."""
        sequences = train.sequences()
        count = np.diff(sequences.indptr)
        from_end = np.repeat(sequences.indptr[1:], count) - np.arange(len(sequences.item_idx))
        column = columns_of(item_of, train.n_items)[sequences.item_idx[from_end <= length]]
        return cls(np.concatenate([[0], np.cumsum(np.minimum(count, length))]), column)

    @property
    def lengths(self) -> Int64Array:
        """Items kept of each user, int64, ``(n_users,)``."""
        return np.diff(self.indptr)

    def padded(self, users: Int32Array, width: int) -> Int32Array:
        """Return the users' items, int32 ``(len(users), width)``, 0 after the end of a history."""
        at = self.indptr[users][:, None] + np.arange(width)
        inside = at < self.indptr[users + 1][:, None]
        rows = np.zeros(at.shape, dtype=np.int32)
        rows[inside] = self.column[at[inside]]
        return rows

    def batches(self, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield every user with two items or more once, in random order.

        Batches hold about the same number of items each, ``batch_size`` users of average length,
        so that an item counts the same whatever the length of its history.
        """
        users = rng.permutation(np.flatnonzero(self.lengths > 1))
        groups: list[Int64Array] = []
        for start in range(0, len(users), batch_size * _POOL):
            pool = users[start : start + batch_size * _POOL]
            pool = pool[np.argsort(self.lengths[pool], kind="stable")]
            n_groups = -(-len(pool) // batch_size)
            done = np.cumsum(self.lengths[pool])
            cuts = np.searchsorted(done, done[-1] * np.arange(1, n_groups) / n_groups)
            groups += [group for group in np.split(pool, cuts) if len(group)]
        for position in rng.permutation(len(groups)):
            yield self._batch(groups[position].astype(np.int32))

    def _batch(self, users: Int32Array) -> Batch:
        length = self.lengths[users].astype(np.int32) - 1
        width = int(length.max())
        rows = self.padded(users, width + 1)
        has_next = np.arange(width) < length[:, None]
        place = np.flatnonzero(has_next).astype(np.int32)
        return Batch(np.ascontiguousarray(rows[:, :-1]), length, place, rows[:, 1:][has_next])
