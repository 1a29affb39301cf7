"""How much of the lists has changed since the reference run, and how many there are no more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq

from recjobs.artifacts import RunFolder
from recjobs.check.batches import Batch, batches
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.expectations import Outcome
from recjobs.read_back import UNREADABLE

_logger = logging.getLogger(__name__)


class Churn:
    """Compares tonight's lists with the reference run's, batch by batch.

    Both ascend by user, so they are read along with each other and neither is ever held.

    Args:
        reference: The other run.
        lists: How many it has published; None where its publish ended before that was recorded:
            then its files are asked.
        log: Tonight's log; its indexes are in the order of the ids, as both files are.
        n: How many of a list's items are compared.

    Attributes:
        lists: How many the reference has; None where nobody knows.
        users: Users with a list in both, so far.
        readable: Whether the reference could be read, so far.
    """

    def __init__(self, reference: RunFolder, lists: int | None, log: Interactions, n: int) -> None:
        self.lists = lists
        self.users = 0
        self.readable = True
        self._replaced = np.zeros(n + 1, dtype=np.int64)
        self._n = n
        self._n_items = len(log.items)
        self._batches = self._rows(reference, log)
        self._read = next(self._batches, None)
        self._row = 0  # of it

    @property
    def mean(self) -> float | None:
        """The share of a list's items that were replaced, mean of users; None without any."""
        if not (self.users and self.readable):
            return None
        # Rounded once: a sum of rounded shares may be past a limit that they are exactly on.
        shares = (Fraction(int(count), n) for n, count in enumerate(self._replaced) if count)
        return float(sum(shares, Fraction()) / self.users)

    def add(self, batch: Batch) -> None:
        """Compare a batch of tonight's lists, which follows the ones before it."""
        from recjobs.check.kernels import count_replaced

        row = 0
        while row < len(batch.user_idx) and self._read is not None:
            row, self._row, users = count_replaced(
                batch.user_idx, batch.bounds, batch.item_idx, row,
                self._read.user_idx, self._read.bounds, self._read.item_idx, self._row,
                self._n, self._n_items, self._replaced,
            )  # fmt: skip
            self.users += users
            if self._row == len(self._read.user_idx):
                self._read, self._row = next(self._batches, None), 0

    def outcomes(self, rows: int, settings: Settings) -> list[Outcome]:
        """Return what there is to say, where there is something to compare.

        Args:
            rows: Tonight's lists.
            settings: Of the job; ``[score]`` and ``[check]`` are read.
        """
        found = [_lost_lists(rows, self.lists, settings)] if self.lists else []
        if self.mean is not None:
            found.append(_churn(self.mean, self.users, settings))
        return found

    def _rows(self, reference: RunFolder, log: Interactions) -> Iterator[Batch]:
        """Yield the reference's rows; tonight's lists are no worse where they are damaged."""
        try:
            paths = reference.paths("score", "lists.parquet")
            if self.lists is None:
                self.lists = sum(pq.read_metadata(path).num_rows for path in paths)
            yield from batches(paths, log)
        except UNREADABLE as error:
            self.readable = False
            told = "the lists' churn is not counted: run %d can't be read any more: %s"
            _logger.warning(told, reference.run_id, error)


def _lost_lists(rows: int, before: int, settings: Settings) -> Outcome:
    limit = settings.check.max_lost_lists
    # Rounded once, as the limit is: 1 - 0.7 would be more than 0.3.
    lost = max(before - rows, 0) / before
    message = f"{rows:,} lists, against {before:,} of the reference run"
    if lost > limit:
        message += (
            f": {lost:.1%} fewer, more than check.max_lost_lists allows ({limit:.1%}). Look "
            "whether the users table, or the interactions, lack rows; if the change is real, raise "
            'the limit or set check.lost_lists to "warn" for a night'
        )
    level = settings.check.lost_lists
    return Outcome("check", "lost_lists", level, lost <= limit, lost, limit, message)


def _churn(mean: float, users: int, settings: Settings) -> Outcome:
    limit = settings.check.max_churn
    return Outcome(
        stage="check",
        name="churn",
        level=settings.check.churn,
        passed=mean <= limit,
        observed=mean,
        expected=limit,
        message=f"{mean:.1%} of a user's top {settings.score.n} have changed since the "
        f"reference run, mean of {users:,} users; check.max_churn is {limit:.1%}",
    )
