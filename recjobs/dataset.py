"""The encoded log, and what is cut out of it: training sets, seen items.

`Interactions` is the whole log before ``as_of`` with ids replaced by indexes, user by user.
`training_set` cuts rows out of it and aggregates them to one row per (user, item): the same
function makes what a model is fitted on, a validation part and a holdout, so they can't differ in
meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy import sparse

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import FeedbackSettings
from recjobs.errors import ConfigError, DataError
from recjobs.features import NO_FEATURES, Features
from recjobs.index import Index
from recjobs.pairs import pairs_of, taken
from recjobs.segments import NO_SEGMENTS, Segments

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: `Interactions.item_created` of an item whose creation time is unknown.
NEVER = np.iinfo(np.int64).max
#: Columns of ``rows.arrow``; the users' and items' arrays are in ``log.npz``.
_ROWS: Final = ("user_idx", "item_idx", "ts", "rating", "event")
_SIDES: Final = ("eligible", "available", "item_created")


@dataclass(frozen=True, slots=True)
class Interactions:
    """The log of interactions before ``as_of``, encoded, ordered by (user, ts, item).

    Attributes:
        FILES: What `save` leaves, features apart.
        users: Every user with an interaction, and every eligible one.
        items: Every item with an interaction, and every one created before ``as_of``.
        user_idx: int32, ``(n_rows,)``; ascending.
        item_idx: int32, ``(n_rows,)``.
        ts: Microseconds since the epoch, UTC, int64, ``(n_rows,)``.
        rating: float32, ``(n_rows,)``; NaN where the source has none.
        event: Position in ``event_names``, int16, ``(n_rows,)``; -1 where the source has none.
        event_names: Distinct event types, ascending.
        eligible: bool, ``(n_users,)``; who gets a list.
        available: bool, ``(n_items,)``; what may be recommended.
        item_created: Microseconds, int64, ``(n_items,)``; `NEVER` where it is unknown.
        item_features: Of each item; without rows where nothing is known of any, or they were not
            loaded.
        user_features: Of each user, likewise.
        segments: Of the users.
    """

    FILES: ClassVar[tuple[str, ...]] = ("rows.arrow", "log.npz", "users.parquet", "items.parquet")

    users: Index
    items: Index
    user_idx: Int32Array
    item_idx: Int32Array
    ts: Int64Array
    rating: Float32Array
    event: npt.NDArray[np.int16]
    event_names: tuple[str, ...]
    eligible: BoolArray
    available: BoolArray
    item_created: Int64Array
    item_features: Features = NO_FEATURES
    user_features: Features = NO_FEATURES
    segments: Segments = NO_SEGMENTS

    def __post_init__(self) -> None:
        n_rows = len(self.ts)
        for name in ("user_idx", "item_idx", "rating", "event"):
            _expect_length(name, getattr(self, name), n_rows)
        if (self.user_idx[1:] < self.user_idx[:-1]).any():
            raise DataError("user_idx: expected users in ascending order. Received: rows out of it")
        _expect_length("eligible", self.eligible, len(self.users))
        for name in ("available", "item_created"):
            _expect_length(name, getattr(self, name), len(self.items))
        for side, index in (("item", self.items), ("user", self.users)):
            rows = len(getattr(self, f"{side}_features"))
            if rows not in (0, len(index)):
                raise DataError(f"{side}_features: expected {len(index)} rows. Received: {rows}")
        if self.segments.names:
            _expect_length("segments", self.segments.code, len(self.users))

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def indptr(self) -> Int64Array:
        """Where each user's rows begin, int64, ``(n_users + 1,)``."""
        users = np.arange(len(self.users) + 1, dtype=np.int32)  # of one type, or all are cast
        return np.searchsorted(self.user_idx, users).astype(np.int64, copy=False)

    def save(self, folder: Path) -> None:
        """Write the log, both indexes and both sides' features into a folder."""
        rows = pa.record_batch({name: pa.array(getattr(self, name)) for name in _ROWS})
        with pa.ipc.new_file(folder / "rows.arrow", rows.schema) as file:
            file.write_batch(rows)
        np.savez(
            folder / "log.npz",
            allow_pickle=False,
            **{name: getattr(self, name) for name in _SIDES},
            event_names=np.array(self.event_names, dtype=str),
            segment_names=np.array(self.segments.names, dtype=str),
            segment=self.segments.code,
        )
        self.users.save(folder / "users.parquet")
        self.items.save(folder / "items.parquet")
        self.item_features.save(folder / "item_features.parquet")
        self.user_features.save(folder / "user_features.parquet")

    @classmethod
    def load(
        cls,
        rows: Path,
        log: Path,
        users: Path,
        items: Path,
        item_features: Path | None = None,
        user_features: Path | None = None,
    ) -> Interactions:
        """Read what `save` wrote, from the paths of `FILES`; features only where asked for.

        The rows are mapped, not read: their arrays can't be written.
        """
        with np.load(log, allow_pickle=False) as arrays:
            values: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        batch = pa.ipc.open_file(pa.memory_map(str(rows))).get_batch(0)
        values |= {name: batch[name].to_numpy() for name in _ROWS}
        names = tuple(str(name) for name in values.pop("event_names"))
        segments = tuple(str(name) for name in values.pop("segment_names"))
        values["segments"] = Segments(segments, values.pop("segment"))
        if item_features is not None:
            values["item_features"] = Features.load(item_features)
        if user_features is not None:
            values["user_features"] = Features.load(user_features)
        return cls(Index.load(users), Index.load(items), event_names=names, **values)


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


@dataclass(frozen=True, slots=True)
class Sequences:
    """Per user, what they liked one after the other, repeats kept, in CSR form.

    Attributes:
        indptr: int64, ``(n_users + 1,)``.
        item_idx: int32, ``(n_rows,)``; oldest first within a user, ties in the order of the log.
        ts: Microseconds, int64, ``(n_rows,)``.
    """

    indptr: Int64Array
    item_idx: Int32Array
    ts: Int64Array


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Interactions aggregated to one row per (user, item), in CSR order.

    Attributes:
        log: What it was cut from; all sets cut from one log share its indexes.
        liked: bool, ``(n_rows,)``; the rows of the log that are taken and are positives.
        indptr: int64, ``(n_users + 1,)``; user ``u`` owns rows ``indptr[u]:indptr[u + 1]``.
        item_idx: int32, ``(n_pairs,)``; ascending within a user.
        rating: The last rating, float32, ``(n_pairs,)``; NaN where there is none.
        weight: The decayed sum of the positives' weights, float32, ``(n_pairs,)``; 0 for a pair
            that is not positive.
        positive: bool, ``(n_pairs,)``.
        ts: The last interaction, microseconds, int64, ``(n_pairs,)``.
        trained: bool, ``(n_users,)``; users with enough history to be trained on.
        candidates: bool, ``(n_items,)``; known before ``as_of``, available, with enough history
            or newly created.
        feedback: ``"explicit"`` (ratings) or ``"implicit"``.
        as_of: Everything here happened before it; microseconds.
    """

    log: Interactions
    liked: BoolArray
    indptr: Int64Array
    item_idx: Int32Array
    rating: Float32Array
    weight: Float32Array
    positive: BoolArray
    ts: Int64Array
    trained: BoolArray
    candidates: BoolArray
    feedback: Literal["explicit", "implicit"]
    as_of: int

    @property
    def users(self) -> Index:
        """The users' index."""
        return self.log.users

    @property
    def items(self) -> Index:
        """The items' index."""
        return self.log.items

    @property
    def n_users(self) -> int:
        """Users in the index, with or without rows here."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Items in the index, with or without rows here."""
        return len(self.items)

    @property
    def n_pairs(self) -> int:
        """Distinct (user, item) pairs."""
        return len(self.item_idx)

    @property
    def user_idx(self) -> Int32Array:
        """The user of each pair, int32, ``(n_pairs,)``."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(self.indptr))

    @property
    def history(self) -> Int64Array:
        """The number of pairs of each user, int64, ``(n_users,)``."""
        return np.diff(self.indptr)

    @property
    def rating_range(self) -> tuple[float, float]:
        """The least and the greatest rating; (nan, nan) without ratings."""
        known = self.rating[~np.isnan(self.rating)]
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    def positives(self) -> sparse.csr_matrix:
        """Return the trained users' positives, float32 CSR ``(n_users, n_items)`` of weights."""
        keep = self.positive & self.trained[self.user_idx]
        indptr = np.concatenate([[0], np.cumsum(keep)])[self.indptr]
        shape = (self.n_users, self.n_items)
        return sparse.csr_matrix((self.weight[keep], self.item_idx[keep], indptr), shape=shape)

    def sequences(self) -> Sequences:
        """Return what the trained users liked, one after the other."""
        rows = np.flatnonzero(self.liked & self.trained[self.log.user_idx])
        counts = np.bincount(self.log.user_idx[rows], minlength=self.n_users)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return Sequences(indptr, self.log.item_idx[rows], self.log.ts[rows])

    def require_rows(self) -> None:
        """Refuse an empty set.

        Raises:
            DataError: No trained user has a positive (or, with ratings, a rating).
        """
        usable = self.trained[self.user_idx]
        usable &= ~np.isnan(self.rating) if self.feedback == "explicit" else self.positive
        if not usable.any():
            raise DataError(
                f"the training set has nothing to learn from: {self.n_pairs} pairs, of which 0 are "
                f"{'ratings' if self.feedback == 'explicit' else 'positives'} of users with enough "
                "history. Check feedback.positive_at, feedback.event_weights and the holdout."
            )


def training_set(
    log: Interactions, rows: BoolArray, as_of: int, feedback: FeedbackSettings
) -> TrainingSet:
    """Aggregate the chosen rows of the log to one row per (user, item).

    The last rating counts; weights of positives are summed, each halved per half-life before
    ``as_of``. A pair is positive by its last rating, or by any of its events.

    Args:
        log: The whole log.
        rows: bool, ``(n_rows,)``; the rows to take.
        as_of: Microseconds; the age of an interaction is counted from it.
        feedback: What an interaction says.

    Raises:
        ConfigError: The settings name an event type or a rating that the log does not have.
    """
    from recjobs.pair_kernels import sum_pairs

    positive, weight = _positives(log, feedback)
    pairs = pairs_of(log.indptr, log.item_idx, rows)
    newest = pairs.newest
    half_life = (feedback.half_life_days or np.inf) * MICROSECONDS_PER_DAY
    total = sum_pairs(pairs.rows, newest, weight, log.ts, as_of, half_life)
    if feedback.event_weights:
        kept = sum_pairs(pairs.rows, newest, weight, log.ts, as_of, np.inf) > 0
    else:
        kept = positive[newest]
    item_idx, rating, ts = taken(newest, log.item_idx, log.rating, log.ts)
    return TrainingSet(
        log=log,
        liked=rows & positive,
        indptr=pairs.indptr,
        item_idx=item_idx,
        rating=rating,
        weight=np.where(kept, total, 0).astype(np.float32),
        positive=kept,
        ts=ts,
        trained=pairs.user_rows >= feedback.min_user_interactions,
        candidates=candidates_of(log, rows, as_of, feedback),
        feedback=feedback.kind,
        as_of=as_of,
    )


def candidates_of(
    log: Interactions, rows: BoolArray, as_of: int, feedback: FeedbackSettings
) -> BoolArray:
    """Return what may be recommended, bool ``(n_items,)``; see `TrainingSet.candidates`."""
    from recjobs.pair_kernels import count_items

    count = count_items(log.item_idx, rows, len(log.items))
    new = (log.item_created < as_of) & (count == 0)
    known: BoolArray = (count >= feedback.min_item_interactions) | new
    return known & log.available


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
    if rule.removesuffix("d").isdecimal():
        since = as_of - int(rule.removesuffix("d")) * MICROSECONDS_PER_DAY
        return rows & (log.ts >= since)
    codes = _event_codes(log, [name.strip() for name in rule.split(",")], "exclude_seen")
    return rows & np.isin(log.event, codes)


def distinct(values: Int64Array) -> Int64Array:
    """Return the distinct values, ascending, int64.

    `numpy.unique` hashes integers, which takes 20 times as long on millions of them.
    """
    ordered = np.sort(values)
    first = np.append(np.ones(min(len(ordered), 1), np.bool_), ordered[1:] != ordered[:-1])
    found: Int64Array = ordered[first]
    return found


def contains(ascending: Int64Array, values: Int64Array) -> BoolArray:
    """Tell which values, int64 of any shape, are among the ascending ones."""
    if not len(ascending):
        return np.zeros(values.shape, dtype=np.bool_)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: BoolArray = ascending[at] == values
    return found


def seen_of(train: TrainingSet, rows: BoolArray, rule: str) -> SeenItems:
    """As `seen_items`, of the rows that a training set was made of: its pairs serve for "all"."""
    if rule == "all":
        return SeenItems(train.indptr, train.item_idx)
    return seen_items(train.log, rows, train.as_of, rule)


def _positives(log: Interactions, feedback: FeedbackSettings) -> tuple[BoolArray, Float32Array]:
    """Return which rows are positives, and each row's weight (0 where it is none)."""
    if feedback.event_weights:
        _event_codes(log, list(feedback.event_weights), "event_weights")
        by_name = [feedback.event_weights.get(name, 0.0) for name in log.event_names]
        weight = np.array([*by_name, 0.0], dtype=np.float32)[log.event]  # -1: no event
        return weight > 0, weight
    rating = log.rating
    if feedback.kind == "explicit" and len(rating) and np.isnan(rating).all():
        raise ConfigError(
            'feedback.kind = "explicit" needs source.rating, the column of ratings; none was read'
        )
    # An interaction without a rating is a positive: to act on an item is to choose it.
    positive = np.isnan(rating) | (rating >= feedback.positive_at)
    return positive, positive.astype(np.float32)


def _event_codes(log: Interactions, names: Sequence[str], setting: str) -> list[int]:
    # One of several may be rare and absent on some night; all of them absent is a wrong name.
    codes = [log.event_names.index(name) for name in names if name in log.event_names]
    if not codes:
        raise ConfigError(
            f"feedback.{setting}: expected event types of the data, {list(log.event_names)}. "
            f"Received: {list(names)}"
        )
    return codes


def _expect_length(name: str, array: npt.NDArray[np.generic], expected: int) -> None:
    if array.shape != (expected,):
        raise DataError(f"{name}: expected shape ({expected},). Received: {array.shape}")
