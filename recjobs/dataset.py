"""From a validated snapshot to arrays: the encoded log, training sets, seen items.

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
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

from recjobs.columns import (
    ACTIVE,
    AVAILABLE,
    CREATED_AT,
    EVENT,
    ITEM_ID,
    MICROSECONDS_PER_DAY,
    RATING,
    TS,
    USER_ID,
    IdType,
)
from recjobs.config import FeedbackSettings
from recjobs.errors import ConfigError, DataError
from recjobs.features import NO_FEATURES, Features, aligned
from recjobs.index import Index
from recjobs.segments import NO_SEGMENTS, Segments, segments_of
from recjobs.threads import over_rows

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

#: Rows that a thread brings into order at a time.
_PART: Final = 1 << 18
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
        users = np.arange(len(self.users) + 1)
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


def read_snapshot(
    interactions: Path, items: Path, users: Path, *, id_types: tuple[IdType, IdType], as_of: int
) -> Interactions:
    """Encode a validated snapshot.

    Args:
        interactions: Parquet of `columns.INTERACTION_COLUMNS`, ordered by (ts, user, item).
        items: Parquet of `columns.ITEM_COLUMNS`; without rows where no items table is configured.
        users: Parquet of `columns.USER_COLUMNS`; without rows where no users table is configured.
            Both may have `columns.FEATURE_COLUMNS`, and users a segment.
        id_types: The SQL types of user and item ids.
        as_of: Microseconds; an item or user row that was created at or after it, or at an unknown
            time and without an interaction, is left out.
    """
    log = pq.read_table(interactions)
    log_users, log_items = pc.unique(log[USER_ID]), pc.unique(log[ITEM_ID])
    item_rows = _known_before(pq.read_table(items), ITEM_ID, log_items, as_of)
    user_rows = _known_before(pq.read_table(users), USER_ID, log_users, as_of)
    user_index = Index.of(id_types[0], log_users, user_rows[USER_ID])
    item_index = Index.of(id_types[1], log_items, item_rows[ITEM_ID])

    # Without a users table everyone with an interaction is eligible; with one, only its rows are.
    has_users = pq.read_metadata(users).num_rows > 0
    eligible = np.full(len(user_index), not has_users)
    eligible[user_index.encode(user_rows[USER_ID])] = _true_or_null(user_rows[ACTIVE])
    available = np.ones(len(item_index), dtype=np.bool_)
    item_created = np.full(len(item_index), NEVER, dtype=np.int64)
    rows = item_index.encode(item_rows[ITEM_ID])
    available[rows] = _true_or_null(item_rows[AVAILABLE])
    item_created[rows] = _microseconds(item_rows[CREATED_AT])

    event, event_names = encode_events(log[EVENT])
    rating = pc.fill_null(log[RATING], float("nan"))
    encoded = by_user(
        user_index.encode(log[USER_ID]),
        item_index.encode(log[ITEM_ID]),
        _microseconds(log[TS]),
        rating.to_numpy().astype(np.float32, copy=False),
        event,
        n_users=len(user_index),
    )
    return Interactions(
        users=user_index,
        items=item_index,
        **dict(zip(_ROWS, encoded, strict=True)),
        event_names=event_names,
        eligible=eligible,
        available=available,
        item_created=item_created,
        item_features=aligned(item_rows, ITEM_ID, item_index),
        user_features=aligned(user_rows, USER_ID, user_index),
        segments=segments_of(user_rows, USER_ID, user_index),
    )


def by_user(
    user_idx: Int32Array, *columns: npt.NDArray[Any], n_users: int
) -> list[npt.NDArray[Any]]:
    """Return ``user_idx`` and the columns, each ``(n_rows,)``, by user, else as they are."""
    from recjobs import pair_kernels

    order = np.empty(len(user_idx), dtype=_row_type(user_idx))
    pair_kernels.by_user(user_idx, n_users, order)
    rows_of = np.bincount(user_idx, minlength=n_users)
    users = np.repeat(np.arange(n_users, dtype=np.int32), rows_of)
    return [users, *_taken(order, *columns)]


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
    item_idx, rating, ts = _taken(newest, log.item_idx, log.rating, log.ts)
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
    """Return what each user must not be recommended again.

    Args:
        log: The whole log.
        rows: bool, ``(n_rows,)``; the rows that count as known.
        as_of: Microseconds; "within 30 days" is counted back from it.
        rule: ``feedback.exclude_seen``: ``"all"``, ``"none"``, ``"30d"`` or event types joined by
            commas.

    Raises:
        ConfigError: The rule is none of these, or names an event type that the log does not have.
    """
    if rule == "none":
        rows = np.zeros(len(log), dtype=np.bool_)
    elif rule.removesuffix("d").isdecimal():
        rows = rows & (log.ts >= as_of - int(rule.removesuffix("d")) * MICROSECONDS_PER_DAY)
    elif rule != "all":
        codes = _event_codes(log, [name.strip() for name in rule.split(",")], "exclude_seen")
        rows = rows & np.isin(log.event, codes)
    pairs = pairs_of(log.indptr, log.item_idx, rows)
    return SeenItems(pairs.indptr, log.item_idx[pairs.newest])


def encode_events(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    """Return each row's position among the event types, -1 for null, and the types, ascending."""
    if column.null_count == len(column):
        return np.full(len(column), -1, dtype=np.int16), ()
    names = sorted(name for name in pc.unique(column).to_pylist() if name is not None)
    codes = pc.fill_null(pc.index_in(column, value_set=pa.array(names, column.type)), -1)
    return codes.to_numpy().astype(np.int16), tuple(names)


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


_Rows = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Chosen rows of a log, by (user, item).

    Attributes:
        rows: Them, ``(n_rows,)``, each pair's oldest first.
        newest: Each pair's last, ``(n_pairs,)``.
        indptr: Of the pairs by user, int64, ``(n_users + 1,)``.
        user_rows: Of each user, int64, ``(n_users,)``.
    """

    rows: _Rows
    newest: _Rows
    indptr: Int64Array
    user_rows: Int64Array


def pairs_of(indptr: Int64Array, item_idx: Int32Array, rows: BoolArray) -> Pairs:
    """Return the chosen rows by (user, item).

    Args:
        indptr: Of the rows by user, ``(n_users + 1,)``.
        item_idx: Of each row, ``(n_rows,)``.
        rows: bool, ``(n_rows,)``; which are chosen.
    """
    from recjobs.pair_kernels import count_rows, order_pairs

    user_rows = count_rows(indptr, rows)
    begin = _cumulated(user_rows)
    ordered = np.empty(begin[-1], dtype=_row_type(item_idx))
    is_newest = np.empty(len(ordered), dtype=np.bool_)
    pairs = np.zeros_like(user_rows)

    def work(part: slice) -> None:
        first, last = np.searchsorted(begin, [part.start, part.stop])
        order_pairs(first, last, indptr, rows, item_idx, begin, ordered, is_newest, pairs)

    over_rows(work, len(ordered), _PART)
    return Pairs(ordered, ordered[is_newest], _cumulated(pairs), user_rows)


def _taken(rows: _Rows, *columns: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Return some rows of each column."""
    from recjobs.pair_kernels import take

    taken = [np.empty(len(rows), dtype=column.dtype) for column in columns]

    def work(part: slice) -> None:
        for column, out in zip(columns, taken, strict=True):
            take(column, rows[part], out[part])

    over_rows(work, len(rows), _PART)
    return taken


def _cumulated(counts: Int64Array) -> Int64Array:
    """Return where each part begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _row_type(column: Int32Array) -> type[np.integer]:
    """Return the smaller type that holds the number of any row."""
    return np.int32 if len(column) <= np.iinfo(np.int32).max else np.int64


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


def _known_before(table: pa.Table, key: str, in_log: pa.Array, as_of: int) -> pa.Table:
    created = pc.fill_null(pc.less(table[CREATED_AT].cast(pa.int64()), as_of), False)
    return table.filter(pc.or_(created, pc.is_in(table[key], value_set=in_log)))


def _true_or_null(column: pa.ChunkedArray) -> BoolArray:
    return np.asarray(pc.fill_null(column, True).to_numpy(), dtype=np.bool_)


def _microseconds(column: pa.ChunkedArray) -> Int64Array:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NEVER).to_numpy(), dtype=np.int64)


def _expect_length(name: str, array: npt.NDArray[np.generic], expected: int) -> None:
    if array.shape != (expected,):
        raise DataError(f"{name}: expected shape ({expected},). Received: {array.shape}")
