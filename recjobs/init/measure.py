"""What the data says: whether ids repeat, the scale of ratings, events, the fitting holdout."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg2
from psycopg2 import sql

from recjobs import db
from recjobs.config import GateSettings, HoldoutSettings
from recjobs.init.choose import Interactions
from recjobs.source import Column, Relation, TimeColumn, statement
from recjobs.source.catalog import ALIAS
from recjobs.source.questions import ask, epoch

#: Days tried for a global-time holdout, the fewest that give enough users.
_DAYS: Final = (7, 14, 28)
#: Rows per user from which each can spare three.
_LONG_HISTORY: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Repeats:
    """Distinct values in the first some ten thousand rows."""

    rows: int
    users: int
    items: int
    pairs: int

    @property
    def reject(self) -> str | None:
        """Why these can't be interactions; None where they can."""
        if not self.rows:
            return "it is empty"
        if self.rows >= 20 and self.users == self.rows:
            return "each row has another user"
        if self.rows >= 20 and self.items == self.rows:
            return "each row has another item"
        return None


@dataclass(frozen=True, slots=True)
class Scale:
    """Ratings: the least and the greatest, and the least that counts as liked.

    Attributes:
        least: Of all that are finite.
        greatest: Of these.
        positive_at: The least of their upper quarter.
        is_whole: Whether all rows were looked at, and not the first some ten thousand alone.
    """

    least: float
    greatest: float
    positive_at: float
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Events:
    """Event types.

    Attributes:
        names: The frequent ones first.
        is_whole: Whether all rows were looked at, and not the first some ten thousand alone.
    """

    names: tuple[str, ...] = ()
    is_whole: bool = True


def repeats(connection: db.PgConnection, candidate: Interactions) -> Repeats:
    """Count distinct users, items and pairs in some rows."""
    question = statement(
        "init/repeats",
        user_value=candidate.user.sql,
        item_value=candidate.item.sql,
        relation=candidate.table.relation.sql,
    )
    return Repeats(*ask(connection, question)[0])


def time_of(connection: db.PgConnection, candidate: Interactions, zone: str) -> TimeColumn | str:
    """Return what the candidate's times mean, or why they mean nothing."""
    relation, column = candidate.table.relation, candidate.time
    unit = ""
    if column.type in ("bigint", "integer"):
        seen = epoch(connection, relation, column)
        if seen is None:
            return f"its column {column.name} is empty"
        unit, value = seen
        if not unit:
            return f"its column {column.name} holds no epoch in seconds or milliseconds ({value})"
    return TimeColumn.of(relation, "time", column.name, unit=unit, zone=zone)


def scale(connection: db.PgConnection, relation: Relation, rating: Column) -> Scale | None:
    """Return the scale of the ratings; None where all are the same or there are none."""
    [found], is_whole = _ask_of_all(connection, "init/scale", relation, rating_value=rating.sql)
    least, greatest, positive_at = found
    return None if least == greatest else Scale(least, greatest, positive_at, is_whole)


def events(connection: db.PgConnection, relation: Relation, column: Column) -> Events:
    """Return the event types that occur."""
    rows, is_whole = _ask_of_all(connection, "init/values", relation, value=column.sql)
    return Events(tuple(str(value) for value, _ in rows), is_whole)


def _ask_of_all(
    connection: db.PgConnection, name: str, relation: Relation, **parts: sql.Composable
) -> tuple[list[tuple[Any, ...]], bool]:
    """Return what a statement says of all rows, or of some where that takes too long; and which."""
    try:
        return ask(connection, statement(name, relation=relation.sql, **parts)), True
    except psycopg2.errors.QueryCanceled:
        alias = sql.Identifier(ALIAS)
        some = sql.SQL("(select * from {} limit 10000) as {}").format(relation.sql, alias)
        return ask(connection, statement(name, relation=some, **parts)), False


def holdout(
    connection: db.PgConnection, chosen: Interactions, time: TimeColumn
) -> tuple[HoldoutSettings, str]:
    """Return the holdout that suits the data, and why."""
    try:
        return _holdout(connection, chosen, time)
    except psycopg2.errors.QueryCanceled:
        why = "the usual one: how many users come back could not be counted in time"
        return HoldoutSettings(), why


def _holdout(
    connection: db.PgConnection, chosen: Interactions, time: TimeColumn
) -> tuple[HoldoutSettings, str]:
    relation, enough = chosen.table.relation, GateSettings().min_users
    [(now,)] = ask(connection, sql.SQL("select clock_timestamp()"))
    question = statement(
        "init/newest", instant=time.instant(), relation=relation.sql, before=time.before(now)
    )
    newest = _instant(ask(connection, question)[0][0])
    until = (newest or now) + timedelta(seconds=1)
    recent = known = users = rows = 0
    for days in _DAYS:
        cutoff = until - timedelta(days=days)
        question = statement(
            "init/holdout",
            user_value=chosen.user.sql,
            relation=relation.sql,
            since=time.since(cutoff),
            until=time.before(until),
            before=time.before(cutoff),
        )
        [(recent, known, users, rows)] = ask(connection, question)
        if known >= enough:
            why = f"{known:,} users of the last {days} days have a history before them: enough"
            return HoldoutSettings(kind="global_time", days=days), why
    last = 3 if rows >= _LONG_HISTORY * max(users, 1) else 1
    why = (
        f"of the {recent:,} users of the last {_DAYS[-1]} days only {known:,} have a history "
        f"before them, and to judge takes {enough}: people act in one sitting here, or are few. So "
        "each user's last rows are held out, which leaks across users, as the report says"
    )
    return HoldoutSettings(kind="last_per_user", last=last), why


def _instant(value: datetime | int | None) -> datetime | None:
    return _EPOCH + timedelta(microseconds=value) if isinstance(value, int) else value
