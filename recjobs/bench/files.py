"""The files of a split: T as a log, E and N in the terms of T's index.

T and I make the index; E and N are opened by other functions, which the fit never calls. Rows of T
are put by user, and each user's in the order of their time by a stable sort: equal times keep the
order of the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.bench.columns import (
    as_ids,
    check_columns,
    events_of,
    id_type_of,
    ids_of,
    ratings_of,
    read_table,
    times_of,
)
from recjobs.columns import EVENT, ITEM_ID, RATING, TS, USER_ID, IdType
from recjobs.config import FeedbackSettings
from recjobs.dataset import (
    NEVER,
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    Interactions,
)
from recjobs.errors import DataError
from recjobs.features import NO_FEATURES, Features
from recjobs.featurize import from_table
from recjobs.index import Index

NEGATIVES: Final = "negatives"


@dataclass(frozen=True, slots=True)
class Training:
    """What the fit may see.

    Attributes:
        log: T; its items are those of T and of I.
        timed: bool, ``(n_rows,)``; rows with a time. The others count as the oldest.
        in_items: bool, ``(n_items,)``; items of I; None without one.
    """

    log: Interactions
    timed: BoolArray
    in_items: BoolArray | None


@dataclass(frozen=True, slots=True)
class Judged:
    """E, in the order of the file.

    An item's code is its index in the training log; an item that the log does not know has the
    codes that follow, in the order of the ids.

    Attributes:
        users: The users of E.
        trained_as: Each user's index in the log, int32 ``(n_users,)``; -1 for one it doesn't know.
        strangers: The items of E that the log does not know.
        owner: Each row's user, a position in ``users``, int32 ``(n_rows,)``.
        code: Each row's item, int32 ``(n_rows,)``.
        rating: float32, ``(n_rows,)``; NaN where there is none.
        event: Position in ``event_names``, int16, ``(n_rows,)``; -1 where there is none.
        event_names: Distinct event types, ascending.
    """

    users: Index
    trained_as: Int32Array
    strangers: Index
    owner: Int32Array
    code: Int32Array
    rating: Float32Array
    event: npt.NDArray[np.int16]
    event_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Negatives:
    """N: the items that each user of E is ranked against.

    Attributes:
        indptr: int64, ``(n_users + 1,)``, of E's users.
        code: int32; -1 for an item that the log does not know.
    """

    indptr: Int64Array
    code: Int32Array


def read_training(train: Path, items: Path | None) -> Training:
    """Read T, and of I the ids and the features.

    Raises:
        DataError: A column is missing, or is not what it should be.
    """
    table = read_table(train, (USER_ID, ITEM_ID), (RATING, TS, EVENT))
    id_types = {name: id_type_of(train, table, name) for name in (USER_ID, ITEM_ID)}
    user_ids, item_ids = (ids_of(train, table, name, id_types[name]) for name in (USER_ID, ITEM_ID))
    catalogue = None if items is None else _catalogue(items, id_types[ITEM_ID])
    users = Index.of(id_types[USER_ID], user_ids)
    index = Index.of(id_types[ITEM_ID], item_ids, *([] if catalogue is None else [catalogue[0]]))
    ts, timed = times_of(train, table)
    user_idx = users.encode(user_ids)
    order = np.lexsort((ts, user_idx))  # stable: rows of one instant stay as they were
    event, names = events_of(train, table)
    in_items, created, features = _of_catalogue(items, catalogue, index, ts.min(initial=0))
    log = Interactions(
        users=users,
        items=index,
        user_idx=user_idx[order],
        item_idx=index.encode(item_ids)[order],
        ts=ts[order],
        rating=ratings_of(train, table)[order],
        event=event[order],
        event_names=names,
        eligible=np.ones(len(users), dtype=np.bool_),
        available=np.ones(len(index), dtype=np.bool_),
        item_created=created,
        item_features=features,
    )
    return Training(log, timed[order], in_items)


def read_judged(test: Path, log: Interactions) -> Judged:
    """Read E.

    Raises:
        DataError: A column is missing, or its ids are of another type than T's.
    """
    table = read_table(test, (USER_ID, ITEM_ID), (RATING, EVENT))
    user_ids = ids_of(test, table, USER_ID, log.users.id_type)
    item_ids = ids_of(test, table, ITEM_ID, log.items.id_type)
    users = Index.of(log.users.id_type, user_ids)
    code = log.items.encode(item_ids)
    strangers = Index.of(log.items.id_type, item_ids.filter(pa.array(code < 0)))
    code[code < 0] = strangers.encode(item_ids)[code < 0] + len(log.items)
    event, event_names = events_of(test, table)
    return Judged(
        users=users,
        trained_as=log.users.encode(users.ids),
        strangers=strangers,
        owner=users.encode(user_ids),
        code=code,
        rating=ratings_of(test, table),
        event=event,
        event_names=event_names,
    )


def read_negatives(negatives: Path, log: Interactions, judged: Judged) -> Negatives:
    """Read N.

    Raises:
        DataError: A column is missing or of another type, or N does not hold one list for each
            user of E.
    """
    table = read_table(negatives, (USER_ID, NEGATIVES))
    owner = judged.users.encode(ids_of(negatives, table, USER_ID, log.users.id_type))
    lists = table[NEGATIVES].combine_chunks()
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(
            f"{negatives}: expected lists of ids in {NEGATIVES}. Received: {lists.type}"
        )
    rows = np.bincount(owner[owner >= 0], minlength=len(judged.users))
    if (rows != 1).any():
        wrong = int(np.argmax(rows != 1))
        raise DataError(
            f"{negatives}: expected one row for each user of E. Received: {rows[wrong]} for user "
            f"{judged.users.ids[wrong].as_py()!r}, and {int((rows != 1).sum())} such users"
        )
    row_of = np.empty(len(judged.users), dtype=np.int64)
    row_of[owner[owner >= 0]] = np.flatnonzero(owner >= 0)
    lists = lists.take(pa.array(row_of))
    if lists.null_count:
        raise DataError(
            f"{negatives}: expected a list in every row. Received: {lists.null_count} nulls"
        )
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    ids = as_ids(negatives, NEGATIVES, lists.flatten(), log.items.id_type)
    code = log.items.encode(ids)
    return Negatives(np.concatenate([[0], np.cumsum(lengths)]), code)


def liked(judged: Judged, feedback: FeedbackSettings) -> BoolArray:
    """Return which rows of E are relevant, by the rule that makes T's rows positives."""
    if feedback.event_weights:
        wanted = [name in feedback.event_weights for name in judged.event_names]
        # A row of E without an event was put there to be found.
        return np.array([*wanted, True], dtype=np.bool_)[judged.event]
    return np.asarray(np.isnan(judged.rating) | (judged.rating >= feedback.positive_at))


def _catalogue(path: Path, id_type: IdType) -> tuple[pa.Array, pa.Table]:
    """Return I's ids, and I with its ids as the index holds them."""
    table = read_table(path, (ITEM_ID,), tuple(check_columns(path, (ITEM_ID,)).names))
    ids = ids_of(path, table, ITEM_ID, id_type)
    return ids, table.set_column(table.column_names.index(ITEM_ID), ITEM_ID, ids)


def _of_catalogue(
    path: Path | None, catalogue: tuple[pa.Array, pa.Table] | None, index: Index, known_at: int
) -> tuple[BoolArray | None, Int64Array, Features]:
    """Return which items are I's, when each was created, and the features of all."""
    created = np.full(len(index), NEVER, dtype=np.int64)
    if catalogue is None:
        return None, created, NO_FEATURES
    ids, table = catalogue
    in_items = np.zeros(len(index), dtype=np.bool_)
    in_items[index.encode(ids)] = True
    # Known before T's last row though nobody may have chosen them: candidates, as in a night.
    created[in_items] = known_at
    try:
        return in_items, created, from_table(table, index)
    except pa.ArrowException as error:
        raise DataError(f"{path}: its columns can't be read as features: {error}") from error
