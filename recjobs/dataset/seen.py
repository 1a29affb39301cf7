"""What each user must not be recommended again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import seen_days
from recjobs.dataset.arrays import BoolArray, Int32Array, Int64Array
from recjobs.dataset.log import Interactions
from recjobs.dataset.training import TrainingSet
from recjobs.pairs import pairs_of


@dataclass(frozen=True, slots=True)
class SeenItems:
    """Per user, the items that must not be recommended again, in CSR form.

    Attributes:
        indptr: int64, ``(n_users + 1,)``.
        indices: int32, ``(n_seen,)``; ascending and distinct within a user.
    """

    indptr: Int64Array
    indices: Int32Array

    def holds(self, user_idx: Int32Array, item_idx: Int32Array) -> BoolArray:
        """Tell which pairs, ``(n,)``, are among them."""
        from recjobs.pair_kernels import find_pairs

        found = np.empty(len(user_idx), dtype=np.bool_)
        find_pairs(self.indptr, self.indices, user_idx, item_idx, found)
        return found


def seen_items(log: Interactions, rows: BoolArray, as_of: int, rule: str) -> SeenItems:
    """Return what each user must not be recommended again; see `seen_rows`."""
    pairs = pairs_of(log.indptr, log.item_idx, seen_rows(log, rows, as_of, rule))
    return SeenItems(pairs.indptr, log.item_idx[pairs.newest])


def seen_rows(log: Interactions, rows: BoolArray, as_of: int, rule: str) -> BoolArray:
    """Return the rows whose user must not be recommended their item again.

    Args:
        log: The whole log.
        rows: bool, ``(n_rows,)``; the rows that count as known.
        as_of: Microseconds; "within 30 days" is counted back from it.
        rule: ``feedback.exclude_seen``: ``"all"``, ``"none"``, ``"30d"`` or event types joined by
            commas.

    Raises:
        ConfigError: The rule is none of these, or names an event type that the log does not have.
    """
    if rule == "all":
        return rows
    if rule == "none":
        return np.zeros(len(log), dtype=np.bool_)
    if (days := seen_days(rule)) is not None:
        return rows & (log.ts >= as_of - days * MICROSECONDS_PER_DAY)
    codes = log.event_codes([name.strip() for name in rule.split(",")], "exclude_seen")
    return rows & np.isin(log.event, codes)


def seen_of(train: TrainingSet, as_of: int | None = None) -> SeenItems:
    """As `seen_items`, of a training set's rows by its own rule: its pairs serve for "all".

    Args:
        train: Whose rows.
        as_of: From when days are counted back; default: its own.
    """
    if train.exclude_seen == "all":
        return SeenItems(train.indptr, train.item_idx)
    until = train.as_of if as_of is None else as_of
    return seen_items(train.log, train.rows, until, train.exclude_seen)
