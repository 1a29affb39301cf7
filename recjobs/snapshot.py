"""From a validated snapshot to the log: ids become indexes, rows are put by user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import (
    ACTIVE,
    AVAILABLE,
    CREATED_AT,
    EVENT,
    ITEM_ID,
    RATING,
    TS,
    USER_ID,
    IdType,
)
from recjobs.dataset import NEVER, BoolArray, Int32Array, Int64Array, Interactions
from recjobs.errors import DataError
from recjobs.features import aligned
from recjobs.index import Index
from recjobs.pairs import by_user
from recjobs.segments import segments_of
from recjobs.threads import over_rows

_Encode = Callable[[pa.ChunkedArray], npt.NDArray[np.integer]]


def read_snapshot(
    interactions: Path,
    items: Path,
    users: Path,
    *,
    id_types: tuple[IdType, IdType],
    as_of: int,
    catalogue: bool = False,
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
        catalogue: Whether the items table says what is available: an item without a row, such as
            one that was deleted from it, is not. Where it only describes, such an item is.
    """
    log = _Log.read(interactions)
    item_rows = _known_before(pq.read_table(items), ITEM_ID, log.item.values, as_of)
    user_rows = _known_before(pq.read_table(users), USER_ID, log.user.values, as_of)
    user_index = Index.of(id_types[0], *log.user.values, user_rows[USER_ID])
    item_index = Index.of(id_types[1], *log.item.values, item_rows[ITEM_ID])

    # Without a users table everyone with an interaction is eligible; with one, only its rows are.
    has_users = pq.read_metadata(users).num_rows > 0
    eligible = np.full(len(user_index), not has_users)
    eligible[user_index.encode(user_rows[USER_ID])] = _true_or_null(user_rows[ACTIVE])
    available = np.full(len(item_index), not catalogue)
    item_created = np.full(len(item_index), NEVER, dtype=np.int64)
    rows = item_index.encode(item_rows[ITEM_ID])
    available[rows] = _true_or_null(item_rows[AVAILABLE])
    item_created[rows] = _microseconds(item_rows[CREATED_AT])

    event_names, place_events = _events(log.event.values)
    columns: list[npt.NDArray[Any]] = [log.item.placed(item_index.encode), log.ts, log.rating]
    if event_names:
        columns.append(log.event.placed(place_events).astype(np.int16))
    user_idx, item_idx, ts, rating, *events = by_user(
        log.user.placed(user_index.encode), *columns, n_users=len(user_index)
    )
    event = events[0] if events else np.broadcast_to(np.int16(-1), len(ts))
    return Interactions(
        users=user_index,
        items=item_index,
        user_idx=user_idx,
        item_idx=item_idx,
        ts=ts,
        rating=rating,
        event=event,
        event_names=event_names,
        eligible=eligible,
        available=available,
        item_created=item_created,
        item_features=aligned(item_rows, ITEM_ID, item_index),
        user_features=aligned(user_rows, USER_ID, user_index),
        segments=segments_of(user_rows, USER_ID, user_index),
    )


def encode_events(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    """Return each row's position among the event types, -1 for null, and the types, ascending."""
    coded = _Coded.room(len(column))
    coded.put(slice(0, len(column)), column)
    names, place = _events(coded.values)
    return coded.placed(place).astype(np.int16), names


@dataclass(frozen=True, slots=True)
class _Coded:
    """A column as positions in distinct values, those of each part of the rows.

    Attributes:
        codes: int32, ``(n_rows,)``; zeros, which take no room, where a part has only nulls.
        parts: The values of each part, by its first and last row.
    """

    codes: Int32Array
    parts: dict[tuple[int, int], pa.Array]

    @classmethod
    def room(cls, rows: int) -> _Coded:
        """Return one for so many rows, to be put there."""
        return cls(np.zeros(rows, dtype=np.int32), {})

    def put(self, rows: slice, column: pa.ChunkedArray) -> None:
        """Encode the column of some rows."""
        if len(column) and column.null_count == len(column):
            self.parts[rows.start, rows.stop] = pa.nulls(1, column.type)
            return
        coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        self.codes[rows] = coded.indices.to_numpy()
        self.parts[rows.start, rows.stop] = coded.dictionary

    @property
    def values(self) -> list[pa.Array]:
        """The distinct values of each part, null perhaps among them."""
        return list(self.parts.values())

    def placed(self, encode: _Encode) -> Int32Array:
        """Return what distinct values are encoded as, row by row; the codes are no more."""
        if not self.parts:
            return self.codes
        known = encode(pa.chunked_array(self.values)).astype(np.int32, copy=False)
        first = np.cumsum([0, *map(len, self.values)])
        parts = list(self.parts)

        def work(part: slice) -> None:
            here = self.codes[slice(*parts[part.start])]
            np.take(known[first[part.start] : first[part.stop]], here, out=here, mode="clip")

        over_rows(work, len(parts), 1)
        return self.codes


@dataclass(frozen=True, slots=True)
class _Log:
    """The columns of a snapshot's interactions, ``(n_rows,)``; ts int64, rating float32."""

    user: _Coded
    item: _Coded
    event: _Coded
    ts: Int64Array
    rating: npt.NDArray[np.float32]

    @classmethod
    def read(cls, path: Path) -> _Log:
        """Read them, the row groups shared out over threads."""
        whole = pq.read_metadata(path)
        sizes = [whole.row_group(number).num_rows for number in range(whole.num_row_groups)]
        ends = np.cumsum([0, *sizes]).tolist()
        user, item, event = (_Coded.room(ends[-1]) for _ in range(3))
        ts, rating = np.empty(ends[-1], dtype=np.int64), np.empty(ends[-1], dtype=np.float32)

        def work(groups: slice) -> None:
            with pq.ParquetFile(path, metadata=whole) as file:  # to each thread its own
                table = file.read_row_group(groups.start, use_threads=False)
            rows = slice(ends[groups.start], ends[groups.stop])
            for coded, name in ((user, USER_ID), (item, ITEM_ID), (event, EVENT)):
                coded.put(rows, table[name])
            ts[rows] = _microseconds(table[TS])
            rating[rows] = pc.fill_null(table[RATING], float("nan")).to_numpy()

        over_rows(work, len(sizes), 1)
        return cls(user, item, event, ts, rating)


def _events(values: list[pa.Array]) -> tuple[tuple[str, ...], _Encode]:
    """Return the event types, ascending, and what places some of them among these, null at -1."""
    names = sorted({name for some in values for name in some.to_pylist()} - {None})
    if len(names) > np.iinfo(np.int16).max:
        raise DataError(
            f"source.event: expected some event types, {np.iinfo(np.int16).max:,} at most. "
            f"Received: {len(names):,}, such as {', '.join(names[:3])}. Is it a text for each row?"
        )
    known = pa.array(names, pa.string())

    def place(some: pa.ChunkedArray) -> npt.NDArray[np.integer]:
        found = pc.index_in(some.cast(pa.string()), value_set=known)
        return np.asarray(pc.fill_null(found, -1).to_numpy())

    return tuple(names), place


def _known_before(table: pa.Table, key: str, in_log: list[pa.Array], as_of: int) -> pa.Table:
    created = pc.fill_null(pc.less(table[CREATED_AT].cast(pa.int64()), as_of), False)
    met = pa.chunked_array(in_log, table[key].type)
    return table.filter(pc.or_(created, pc.is_in(table[key], value_set=met)))


def _true_or_null(column: pa.ChunkedArray) -> BoolArray:
    return np.asarray(pc.fill_null(column, True).to_numpy(), dtype=np.bool_)


def _microseconds(column: pa.ChunkedArray) -> Int64Array:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NEVER).to_numpy(), dtype=np.int64)
