"""Which rows of the log a model is fitted on, tuned on, and judged on.

`split` marks every row of the log as fit, validation, holdout or none of them. The same seven rows
under both kinds of holdout, at ``as_of`` day 10:

    row   user  day   global_time, days=3     last_per_user, last=1
    0     ann   1     fit                     fit
    1     ann   3     fit                     fit
    2     ann   5     fit                     validation
    3     ann   8     holdout                 holdout
    4     bob   2     fit                     fit
    5     bob   6     validation              holdout
    6     cid   9     holdout                 fit

``global_time`` holds out the last days before ``as_of``; bob has no row there and is not judged,
cid has no other and is judged as a new user. The newest share of the rows before is for validation.
``last_per_user`` holds out each user's last rows where as many remain before: cid's only row stays.
It leaks across users (bob is judged on day 6 by a model that knows cid's day 9), so it is for data
where people act in one sitting and a cut in time would leave nobody with a history.

>>> import numpy as np
>>> from recjobs.columns import MICROSECONDS_PER_DAY as day
>>> from recjobs.config import HoldoutSettings
>>> users = np.array([0, 0, 0, 0, 1, 1, 2], dtype=np.int32)
>>> ts = np.array([1, 3, 5, 8, 2, 6, 9], dtype=np.int64) * day
>>> def parts(settings):
...     s = split_rows(users, ts, settings, as_of=10 * day)
...     return [r.nonzero()[0].tolist() for r in (s.fit, s.validation, s.holdout)]
>>> parts(HoldoutSettings(kind="global_time", days=3, validation_share=0.2))
[[0, 1, 2, 4], [5], [3, 6]]
>>> parts(HoldoutSettings(kind="last_per_user", last=1, validation_share=0.2))
[[0, 1, 4, 6], [2], [3, 5]]
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import HoldoutSettings
from recjobs.dataset import BoolArray, Int32Array, Int64Array, Interactions
from recjobs.errors import DataError

#: Of so many rows one is in a sample; odd, for a log may repeat itself.
_STRIDE: Final = 1021


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint parts of a log.

    Attributes:
        fit: bool, ``(n_rows,)``; what a model learns from.
        validation: bool, ``(n_rows,)``; what early stopping watches, never the judge.
        holdout: bool, ``(n_rows,)``; what the judged model never sees.
        cutoff: Microseconds; everything in fit and validation happened before it.
    """

    fit: BoolArray
    validation: BoolArray
    holdout: BoolArray
    cutoff: int

    def __post_init__(self) -> None:
        parts = self.fit.astype(np.int8) + self.validation + self.holdout
        if (parts > 1).any():
            raise DataError(
                f"split: expected disjoint parts. Received: {int((parts > 1).sum())} rows in two"
            )

    @property
    def training(self) -> BoolArray:
        """Fit and validation together: everything that is known at ``cutoff``."""
        return self.fit | self.validation

    def save(self, path: Path) -> None:
        """Write the split as ``.npz``."""
        np.savez(
            path,
            fit=self.fit,
            validation=self.validation,
            holdout=self.holdout,
            cutoff=np.int64(self.cutoff),
        )

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read a split that `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(
                fit=arrays["fit"],
                validation=arrays["validation"],
                holdout=arrays["holdout"],
                cutoff=int(arrays["cutoff"]),
            )


def split(log: Interactions, settings: HoldoutSettings, as_of: int) -> Split:
    """Split a log as the settings say.

    Args:
        log: The log.
        settings: Which holdout, and how large.
        as_of: Microseconds; rows at or after it belong to no part.

    Raises:
        DataError: A part would be empty; the message says which setting to change.
    """
    return split_rows(log.user_idx, log.ts, settings, as_of)


def split_rows(
    user_idx: Int32Array, ts: Int64Array, settings: HoldoutSettings, as_of: int
) -> Split:
    """Split rows given as arrays, by user, oldest first; see `split`."""
    if settings.kind == "global_time":
        parts = _global_time(ts, settings, as_of)
    else:
        parts = _last_per_user(user_idx, ts, settings, as_of)
    _require(parts, settings, as_of)
    return parts


def _global_time(ts: Int64Array, settings: HoldoutSettings, as_of: int) -> Split:
    cutoff = as_of - round(settings.days * MICROSECONDS_PER_DAY)
    before = ts < cutoff
    validation = newest_rows(ts, before, settings.validation_share)
    return Split(before & ~validation, validation, (ts >= cutoff) & (ts < as_of), cutoff)


def newest_rows(ts: Int64Array, rows: BoolArray, share: float) -> BoolArray:
    """Return a share of the rows, the newest of them.

    Rows of one instant stay together: they are taken, or left where nothing else would be.

    Args:
        ts: Microseconds, int64, ``(n_rows,)``.
        rows: bool, ``(n_rows,)``; the others don't exist.
        share: Of the rows.
    """
    count = np.count_nonzero(rows)
    if not count:
        return np.zeros(len(ts), dtype=np.bool_)
    since = _nth_newest(ts, rows, max(1, round(count * share)))
    newest: BoolArray = rows & ((ts >= since) if since > ts.min() else (ts > since))
    return newest


def _nth_newest(ts: Int64Array, rows: BoolArray, n: int) -> int:
    """Return the time of the n-th newest of the chosen rows, of which there are as many at least.

    A sample tells which rows are too old to be looked at.
    """
    sample = np.sort(ts[::_STRIDE][rows[::_STRIDE]])
    sampled = 2 * n // _STRIDE + 1
    newest = ts[rows & (ts >= sample[-sampled])] if sampled <= len(sample) else ts[rows]
    if len(newest) < n:
        newest = ts[rows]
    return int(np.partition(newest, len(newest) - n)[len(newest) - n])


def _last_per_user(
    user_idx: Int32Array, ts: Int64Array, settings: HoldoutSettings, as_of: int
) -> Split:
    usable = ts < as_of
    from_end, count = _position_from_end(user_idx, usable)
    # Each user's first ones are never held out, and what is once held out is learned from no more
    # until as many have come after it: no champion has seen what it is judged on.
    first = count - 1 - from_end < settings.last
    holdout = usable & (from_end < settings.last) & ~first
    rest = usable & ~holdout

    validation = last_rows(user_idx, rest, settings.validation_share)
    if not validation.any():  # but one user has two rows: one of these, for a night needs some
        from_end, count = _position_from_end(user_idx, rest)
        validation = rest & (from_end == 0) & (count >= 2)
    return Split(rest & ~validation, validation, holdout, as_of)


def last_rows(user_idx: Int32Array, rows: BoolArray, share: float) -> BoolArray:
    """Return a share of the rows, each its user's last one, where another is left to learn from.

    They are spread evenly over the users, so that the choice follows from the log alone. Of the
    users with two rows at most half lose one: where hardly anybody has more, nobody would have two
    in a row left, and a sequence model nothing to learn from.

    Args:
        user_idx: int32, ``(n_rows,)``; ascending, each user's oldest row first.
        rows: bool, ``(n_rows,)``; the others don't exist.
        share: Of the rows; no more than one per user.
    """
    from_end, count = _position_from_end(user_idx, rows)
    last = rows & (from_end == 0)
    possible = last & (count > 2)
    possible[(last & (count == 2)).nonzero()[0][1::2]] = True
    places = possible.nonzero()[0]
    wanted = max(1, round(int(rows.sum()) * share))
    chosen = np.linspace(0, max(len(places) - 1, 0), min(wanted, len(places)))
    held = np.zeros(len(rows), dtype=np.bool_)
    held[places[chosen.round().astype(np.int64)]] = True
    return held


def _position_from_end(user_idx: Int32Array, rows: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Return, per row, how many rows of its user follow it, and how many its user has.

    Both int64, ``(n_rows,)``; only the given rows are counted, the others get 0 and 0.
    """
    chosen = rows.nonzero()[0]
    counts = np.bincount(user_idx[chosen])
    ends = np.cumsum(counts)[user_idx[chosen]]
    from_end = np.zeros(len(rows), dtype=np.int64)
    count = np.zeros(len(rows), dtype=np.int64)
    from_end[chosen] = ends - 1 - np.arange(len(chosen))
    count[chosen] = counts[user_idx[chosen]]
    return from_end, count


def _require(parts: Split, settings: HoldoutSettings, as_of: int) -> None:
    sizes = {name: int(getattr(parts, name).sum()) for name in ("fit", "validation", "holdout")}
    empty = [name for name, size in sizes.items() if not size]
    if not empty:
        return
    if settings.kind == "global_time":
        rule = f"global_time over {settings.days:g} days from {_text(parts.cutoff)}"
        advice = (
            "a larger holdout.days"
            if empty == ["holdout"]
            else "a smaller holdout.days, an earlier start of the data"
        ) + ', or holdout.kind = "last_per_user"'
    else:
        rule = f"last_per_user, last = {settings.last}"
        advice = 'a smaller holdout.last, or holdout.kind = "global_time"'
    raise DataError(
        f"the holdout ({rule}, before {_text(as_of)}) leaves no rows for {' and '.join(empty)}: "
        f"expected at least one row in each part. Received: {sizes}. Try {advice}."
    )


def _text(instant: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)).isoformat()
