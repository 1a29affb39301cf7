"""How much of the lists has changed since the reference run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recjobs.check.batches import Batch, batches
from recjobs.dataset import Interactions


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
        self._read = next(self._batches, None)
        self._row = 0  # of it

    @property
    def mean(self) -> float | None:
        """The share of a list's items that were replaced, mean of users; None without any."""
        return self._replaced / self.users if self.users else None

    def add(self, batch: Batch) -> None:
        """Compare a batch of tonight's lists, which follows the ones before it."""
        from recjobs.check.kernels import sum_replaced

        row = 0
        while row < len(batch.user_idx) and self._read is not None:
            row, self._row, replaced, users = sum_replaced(
                batch.user_idx, batch.bounds, batch.item_idx, row,
                self._read.user_idx, self._read.bounds, self._read.item_idx, self._row,
                self._n, self._n_items,
            )  # fmt: skip
            self._replaced += replaced
            self.users += users
            if self._row == len(self._read.user_idx):
                self._read, self._row = next(self._batches, None), 0
