"""From a validated snapshot to the log: ids become indexes, rows are put by user."""

from __future__ import annotations

from pathlib import Path

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
from recjobs.dataset import NEVER, BoolArray, Int64Array, Interactions
from recjobs.features import aligned
from recjobs.index import Index
from recjobs.pairs import by_user
from recjobs.segments import segments_of


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
    user_idx, item_idx, ts, ratings, events = by_user(
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
        user_idx=user_idx,
        item_idx=item_idx,
        ts=ts,
        rating=ratings,
        event=events,
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
    if column.null_count == len(column):
        return np.full(len(column), -1, dtype=np.int16), ()
    names = sorted(name for name in pc.unique(column).to_pylist() if name is not None)
    codes = pc.fill_null(pc.index_in(column, value_set=pa.array(names, column.type)), -1)
    return codes.to_numpy().astype(np.int16), tuple(names)


def _known_before(table: pa.Table, key: str, in_log: pa.Array, as_of: int) -> pa.Table:
    created = pc.fill_null(pc.less(table[CREATED_AT].cast(pa.int64()), as_of), False)
    return table.filter(pc.or_(created, pc.is_in(table[key], value_set=in_log)))


def _true_or_null(column: pa.ChunkedArray) -> BoolArray:
    return np.asarray(pc.fill_null(column, True).to_numpy(), dtype=np.bool_)


def _microseconds(column: pa.ChunkedArray) -> Int64Array:
    return np.asarray(pc.fill_null(column.cast(pa.int64()), NEVER).to_numpy(), dtype=np.int64)
