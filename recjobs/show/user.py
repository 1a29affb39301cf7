"""One user's list as the live run serves it, beside the history that it was made from.

The list comes from the job's tables, as an application would read it; the history from the run's
own artifacts, so that neither the source nor a right on it is needed.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs import db
from recjobs.artifacts import RunFolder
from recjobs.columns import EVENT, ITEM_ID, RATING, TS, USER_ID, IdType
from recjobs.config import Settings
from recjobs.errors import ConfigError, DataError, RecJobsError
from recjobs.report.samples import read_titles
from recjobs.runs import Run, RunStore, run_folder

Status = Literal["served", "short", "empty", "not eligible", "unknown", "nothing live"]

_INTEGER_BITS: Final[dict[IdType, int]] = {"integer": 32, "bigint": 64}
_MOST: Final = 2**31 - 1  # the `n` of `recommend` is an integer
#: Interactions shown, the newest first.
_HISTORY: Final = 10


@dataclass(frozen=True, slots=True)
class ListedItem:
    """An item on the list.

    Attributes:
        rank: From 1.
        item_id: The source's own id.
        title: None where the source has none.
        score: Comparable within one list only.
        source: The model's name, or ``"popular"`` for a fallback.
        because_item_id: The item of the history that weighed most; None for a fallback.
        because_title: Its title.
        because_features: The features that weighed most; None where the model tells none.
    """

    rank: int
    item_id: int | str
    title: str | None
    score: float
    source: str
    because_item_id: int | str | None
    because_title: str | None
    because_features: str | None


@dataclass(frozen=True, slots=True)
class PastItem:
    """An interaction of the user before ``as_of``; rating and event where the source has them."""

    ts: datetime
    item_id: int | str
    title: str | None
    rating: float | None
    event: str | None


@dataclass(frozen=True, slots=True)
class UserView:
    """What a user gets, and from what.

    Attributes:
        user_id: As the source has it.
        status: ``served``, ``short``, ``empty`` and ``not eligible`` are those of ``user_status``;
            ``unknown`` to the live run; ``nothing live``.
        reason: Why there are fewer items than there should be, in words.
        run_id: The live run, None where there is none.
        as_of: What it knew: the interactions before this instant.
        model: Its model.
        items: Best first; the popular fallback for a user unknown to the run.
        interactions: Length of the history, None where the artifacts are out of reach.
        history: The newest of it, newest first.
        history_missing: Why there is no history to show; empty where there is.
    """

    user_id: int | str
    status: Status
    reason: str | None
    run_id: int | None
    as_of: datetime | None
    model: str | None
    items: tuple[ListedItem, ...]
    interactions: int | None
    history: tuple[PastItem, ...]
    history_missing: str


def of(settings: Settings, user: str, n: int | None = None) -> UserView:
    """Return one user's list from the job that the settings describe; see `show`."""
    dsn, schema = settings.target.resolve(), settings.job.db_schema
    live = RunStore(dsn, schema).live()
    return show(dsn, schema, user, n, live=live, folder=run_folder(live) if live else None)


def show(
    dsn: str,
    schema: str,
    user: str,
    n: int | None = None,
    *,
    live: Run | None,
    folder: RunFolder | None,
) -> UserView:
    """Return one user's list and history.

    Args:
        dsn: The target database.
        schema: The job's schema.
        user: The user's id, as text.
        n: How many items at most; default: as many as readers get who ask for no number.
        live: The live run.
        folder: Its artifacts; without, the history is left out.

    Raises:
        DataError: The text is no id of the job's type.
        ConfigError: The job's tables were never migrated.
    """
    with db.connect(dsn) as connection:
        values = {"schema": schema}
        types = db.execute(connection, db.query("show/user_id_type"), values)
        if not types:
            raise ConfigError(f"schema {schema} has no lists. Run: recjobs migrate")
        user_id = parse_id(user, cast(IdType, types[0][0]))
        # As text: the server reads it as an id of the column's own type.
        named = {"user_id": str(user_id), "n": n and min(n, _MOST)}
        status = db.execute(connection, db.query("show/status", schema=schema), named)
        rows = db.execute(connection, db.query("show/list", schema=schema), named)
    known: Status = "unknown" if live else "nothing live"
    total, history, missing = _history(folder, user_id)
    return UserView(
        user_id=user_id,
        status=status[0][0] if status else known,
        reason=status[0][1] if status else None,
        run_id=live.run_id if live else None,
        as_of=live.key.as_of if live else None,
        model=live.model if live else None,
        items=tuple(ListedItem(*row) for row in rows),
        interactions=total,
        history=history,
        history_missing=missing,
    )


def parse_id(text: str, id_type: IdType) -> int | str:
    """Return the id that a text spells: an int for integers, lower-case text for a uuid.

    Raises:
        DataError: It is none of this type.
    """
    refused = DataError(f"user id: expected one of type {id_type}. Received: {text!r}")
    if id_type == "uuid":
        try:
            return str(uuid.UUID(text))
        except ValueError as error:
            raise refused from error
    if id_type == "text":
        # What the terminal gave that is no UTF-8 comes as surrogates, which no encoding takes.
        if not text or re.search("[\0\ud800-\udfff]", text):
            raise refused
        return text
    bits = _INTEGER_BITS[id_type]
    if not re.fullmatch(r"-?[0-9]{1,19}", text) or not -(2 ** (bits - 1)) <= int(text) < 2 ** (
        bits - 1
    ):
        raise refused
    return int(text)


def _history(
    folder: RunFolder | None, user_id: int | str
) -> tuple[int | None, tuple[PastItem, ...], str]:
    """Return the length of a user's history, the newest of it, and why there is none to show."""
    if folder is None:
        return None, (), "no run is live"
    try:
        log = folder.path("validate", "interactions.parquet")
        items = folder.path("extract", "items.parquet")
    except (RecJobsError, OSError) as error:
        return None, (), f"the run's artifacts are out of reach: {error}"
    mine = pq.read_table(log, filters=pc.field(USER_ID) == user_id)
    newest = mine.slice(max(0, len(mine) - _HISTORY)).to_pylist()[::-1]
    titles = read_titles(items, (row[ITEM_ID] for row in newest))
    history = tuple(
        PastItem(row[TS], row[ITEM_ID], titles.get(row[ITEM_ID]), row[RATING], row[EVENT])
        for row in newest
    )
    return len(mine), history, ""
