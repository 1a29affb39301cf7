"""How much of the lists has changed since the reference run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from recjobs.check.batches import Batch, batches
from recjobs.dataset import Int32Array, Interactions, contains


def _none() -> Int32Array:
    return np.zeros(0, dtype=np.int32)


@dataclass(slots=True)
class _Top:
    """Users with a list, ascending, and the entries of their first n."""

    users: Int32Array = field(default_factory=_none)
    owner: Int32Array = field(default_factory=_none)
    items: Int32Array = field(default_factory=_none)

    @classmethod
    def of(cls, batch: Batch, n: int) -> _Top:
        owner = batch.user_idx[batch.row]
        top = (batch.rank < n) & (owner >= 0)
        listed = (batch.user_idx >= 0) & (batch.length > 0)
        return cls(batch.user_idx[listed], owner[top], batch.item_idx[top])


class Churn:
    """Compares tonight's lists with the reference run's, batch by batch.

    Both ascend by user, so they are read along with each other and neither is ever held.

    Args:
        reference: The other run's ``lists.parquet``, of each part.
        log: Tonight's log; its indexes are in the order of the ids, as both files are.
        n: How many of a list's items are compared.

    Attributes:
        users: Users with a list in both, so far.
    """

    def __init__(self, reference: Sequence[Path], log: Interactions, n: int) -> None:
        self.users = 0
        self._replaced = 0.0
        self._n = n
        self._n_items = len(log.items)
        self._batches = batches(reference, log)
        self._read = _Top()

    @property
    def mean(self) -> float | None:
        """The share of a list's items that were replaced, mean of users; None without any."""
        return self._replaced / self.users if self.users else None

    def add(self, batch: Batch) -> None:
        """Compare a batch of tonight's lists, which follows the ones before it."""
        now = _Top.of(batch, self._n)
        if not len(now.users):
            return
        before = self._up_to(int(now.users.max()))
        both = before.users[np.isin(before.users, now.users)]
        if not len(both):
            return
        # Entries as (user, item); an item that tonight does not know (-1) can't have stayed.
        stride = self._n_items + 1
        listed = np.sort(now.owner.astype(np.int64) * stride + now.items)
        stayed = (before.items >= 0) & contains(
            listed, before.owner.astype(np.int64) * stride + before.items
        )
        n_before = np.bincount(before.owner, minlength=both[-1] + 1)[both]
        n_stayed = np.bincount(before.owner[stayed], minlength=both[-1] + 1)[both]
        self._replaced += float((1 - n_stayed / n_before).sum())
        self.users += len(both)

    def _up_to(self, user: int) -> _Top:
        """Return what the reference holds for users up to this one and not yet returned."""
        while not len(self._read.users) or self._read.users[-1] < user:
            batch = next(self._batches, None)
            if batch is None:
                break
            more = _Top.of(batch, self._n)
            self._read.users = np.append(self._read.users, more.users)
            self._read.owner = np.append(self._read.owner, more.owner)
            self._read.items = np.append(self._read.items, more.items)
        read = self._read
        due, theirs = read.users <= user, read.owner <= user
        self._read = _Top(read.users[~due], read.owner[~theirs], read.items[~theirs])
        return _Top(read.users[due], read.owner[theirs], read.items[theirs])
