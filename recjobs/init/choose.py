"""Which table holds the interactions: by the names, keys and types of its columns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from recjobs.init.look import Database, Table
from recjobs.init.words import (
    EVENT,
    INTERACTION,
    ITEM,
    MOMENT,
    OTHER_MOMENT,
    RATING,
    USER,
    looks_like_id,
    words,
)
from recjobs.source.catalog import NUMBER_TYPES, SOURCE_ID_TYPES, Column

TEXTS: Final = ("text", "character varying")
_INTEGERS: Final = ("integer", "bigint")
_TIMES: Final = {
    "timestamp with time zone": 3.0,
    "timestamp without time zone": 2.5,
    "date": 1.5,
    "bigint": 1.0,
    "integer": 1.0,
}
#: Types of columns that are no enumeration, for an enumeration has a name of its own.
_NO_ENUM: Final = (
    *NUMBER_TYPES,
    *_TIMES,
    *TEXTS,
    "uuid",
    "boolean",
    "json",
    "jsonb",
    "bytea",
    "citext",
)


@dataclass(frozen=True, slots=True)
class Interactions:
    """A table that could hold the interactions.

    Attributes:
        table: The table.
        user: Its column of users.
        item: Its column of items.
        time: Its column of times.
        rating: Its column of ratings, if it has one.
        event: Its column of event types, if it has one.
        score: How well it fits; the highest is taken.
        guessed: Whether which of the two is the user is a guess.
    """

    table: Table
    user: Column
    item: Column
    time: Column
    rating: Column | None
    event: Column | None
    score: float
    guessed: bool


def candidates(database: Database) -> tuple[list[Interactions], dict[str, str]]:
    """Return the tables that could hold interactions, best first, and why the others could not."""
    found, rejected = [], dict(database.passed_over)
    for table in database.tables.values():
        judged = _judge(table)
        if isinstance(judged, Interactions):
            found.append(judged)
        else:
            rejected[table.name] = judged
    found.sort(key=lambda candidate: (-candidate.score, candidate.table.name))
    return found, rejected


def _judge(table: Table) -> Interactions | str:
    """Return the table as a candidate, or what it lacks."""
    pairs = [
        (_side_score(table, user, USER), _side_score(table, item, ITEM), user, item)
        for user in _ids(table)
        for item in _ids(table)
        if user is not item
    ]
    known = [p for p in pairs if p[0] > 1 and p[1] > 1]
    # Two columns of ids of which one is known: the other is the other.
    half = [
        p for p in pairs
        if (p[0] > 1 and not words(p[3].name) & INTERACTION)
        or (p[1] > 1 and not words(p[2].name) & INTERACTION)  # an order_id is no user
    ]  # fmt: skip
    keys = [p for p in pairs if p[2].name in table.foreign and p[3].name in table.foreign]
    best = max(known or half or keys, key=lambda p: p[0] + p[1], default=None)
    if best is None:
        return _lacking(table)
    user_score, item_score, user, item = best
    time, time_score = _time(table, {user.name, item.name})
    if time is None:
        return f"users ({user.name}) and items ({item.name}), but no column of times"
    taken = {user.name, item.name, time.name}
    rating = named(table, RATING, NUMBER_TYPES, taken)
    event = _event(table, taken | ({rating.name} if rating else set()))
    score = user_score + item_score + time_score
    score += 2 * bool(words(table.name.split(".", 1)[1]) & INTERACTION) - table.is_view
    score += 2 * (rating is not None) + 2 * (event is not None)
    score += math.log10(max(table.guessed_rows, 1)) / 2
    return Interactions(table, user, item, time, rating, event, score, not known)


def _ids(table: Table) -> list[Column]:
    return [
        column
        for column in table.columns.values()
        if column.type in SOURCE_ID_TYPES
        and column.name not in table.unique
        and (column.name in table.foreign or looks_like_id(column.name))
    ]


def _side_score(table: Table, column: Column, side: frozenset[str]) -> float:
    named, _ = table.foreign.get(column.name, ("", ""))
    if words(column.name) & side:
        return 4 if named else 3
    if named and words(named.split(".", 1)[1]) & side:
        return 3
    return 1 if looks_like_id(column.name) else 0.5


def _lacking(table: Table) -> str:
    """Return why a table can't be the interactions: which of users and items it has not."""
    has = {
        "users": [c for c in table.columns.values() if words(c.name) & USER and _is_id(c)],
        "items": [c for c in table.columns.values() if words(c.name) & ITEM and _is_id(c)],
    }
    for side, columns in has.items():
        refused = [c for c in columns if c.type not in SOURCE_ID_TYPES]
        if refused:
            column = refused[0]
            return f"its column of {side}, {column.name}, is {column.type}: cast it in an SQL file"
    repeated = {
        side: [c for c in columns if c.name not in table.unique] for side, columns in has.items()
    }
    lacking = [side for side, columns in repeated.items() if not columns]
    if len(lacking) == 1:
        [there] = [columns[0].name for columns in repeated.values() if columns]
        return f"{there}, but no column of {lacking[0]} that could repeat"
    return "no columns of users and items that could repeat"


def _is_id(column: Column) -> bool:
    return looks_like_id(column.name) and column.type not in _TIMES.keys() - {"bigint", "integer"}


def _time(table: Table, taken: set[str]) -> tuple[Column | None, float]:
    scored = []
    for column in table.columns.values():
        said = words(column.name)
        score = _TIMES.get(column.type)
        if score is None or column.name in taken or column.name in table.foreign:
            continue
        if column.type in _INTEGERS and not said & MOMENT:
            continue
        score += bool(said & MOMENT) - 2 * bool(said & OTHER_MOMENT)
        scored.append((score, column))
    if not scored:
        return None, 0
    score, column = max(scored, key=lambda pair: pair[0])
    return column, score


def named(
    table: Table, wanted: frozenset[str], types: Iterable[str], taken: set[str]
) -> Column | None:
    """Return the first column of these types whose name says what is wanted, taken ones aside."""
    for column in table.columns.values():
        free = column.name not in taken and column.name not in table.foreign
        if free and column.type in types and words(column.name) & wanted:
            return column
    return None


def _event(table: Table, taken: set[str]) -> Column | None:
    enums = {c.type for c in table.columns.values()} - set(_NO_ENUM)
    others = {name for name in table.columns if words(name) & (USER | ITEM)}  # item_type is none
    return named(table, EVENT, {*TEXTS, *enums}, taken | others)
