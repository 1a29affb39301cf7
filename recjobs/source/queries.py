"""The three queries of a snapshot, made from the settings and checked against the catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import psycopg2
from psycopg2 import sql

from recjobs import db
from recjobs.columns import (
    ACTIVE,
    AVAILABLE,
    CREATED_AT,
    EVENT,
    ITEM_ID,
    RATING,
    SEGMENT,
    TITLE,
    TS,
    USER_ID,
    IdType,
)
from recjobs.config import SourceSettings
from recjobs.errors import ConfigError
from recjobs.source.catalog import ALIAS, NUMBER_TYPES, Relation, statement
from recjobs.source.features import feature_values
from recjobs.source.tables import Tables

#: In place of as_of, where a query is to be the same every night.
_ANY_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)
#: A table of fewer is read by one session.
_PAGES_OF_TWO: Final = 1024


@dataclass(frozen=True, slots=True)
class Queries:
    """What to read from the source.

    Attributes:
        interactions: Gives `columns.INTERACTION_COLUMNS`, rating and event where the source has
            them.
        halves: The same in two queries, which two sessions may run at once: to one, a server sends
            no faster than a single core makes rows. In one query where it reads an index, no plain
            table, or one of which some columns alone may be read.
        items: Gives `columns.ITEM_COLUMNS` and the features as `source.features` has them; None
            where no table of items is configured.
        users: Gives `columns.USER_COLUMNS`, the features and the segment; None where no table of
            users is configured.
        user_id_type: What the ids of users become.
        item_id_type: What the ids of items become.
        expected_rows: The planner's guess at the number of interactions.
        origin: Changes with the database that is asked and with what it is asked, as_of aside.
        kept: Counts, as ``kept``, the interactions that lie before ``since``; None without it.
    """

    interactions: str
    halves: tuple[str, ...]
    items: str | None
    users: str | None
    user_id_type: IdType
    item_id_type: IdType
    expected_rows: int
    origin: str
    kept: str | None


def plan(
    connection: db.PgConnection,
    source: SourceSettings,
    as_of: datetime,
    since: datetime | None = None,
) -> Queries:
    """Make the queries of a snapshot.

    Args:
        connection: To the source.
        source: Which tables and columns.
        as_of: Aware; interactions lie before it.
        since: Interactions do not lie before it, where it is given; those without a time are
            always read.

    Raises:
        ConfigError: A table or a column is missing or of a type that does not fit, or an SQL file
            or expression of the settings does not run.
        DatabaseError: The server failed.
    """
    found = Tables.look(connection, source)
    user_type, item_type = found.user_id_type(), found.item_id_type()
    whole = _interactions(found, as_of, since)
    interactions = whole.as_string(connection)
    planned = _explain(connection, interactions, found.interactions)
    halves = [whole]
    if planned["Node Type"] == "Seq Scan" and found.interactions.pages >= _PAGES_OF_TWO:
        halves = _halves(whole, found.interactions.pages // 2)
    items = _items(found, item_type)
    users = _users(found, user_type)
    queries = Queries(
        interactions=interactions,
        halves=tuple(half.as_string(connection) for half in halves),
        items=items.as_string(connection) if items else None,
        users=users.as_string(connection) if users else None,
        user_id_type=user_type,
        item_id_type=item_type,
        expected_rows=int(planned["Plan Rows"]),
        origin=_origin(connection, _interactions(found, _ANY_TIME, None)),
        kept=_kept(found, since).as_string(connection) if since else None,
    )
    for text, relation in ((queries.items, found.items), (queries.users, found.users)):
        if text and relation:
            _explain(connection, text, relation)
    return queries


def _interactions(found: Tables, as_of: datetime, since: datetime | None) -> sql.Composable:
    settings, relation = found.settings, found.interactions
    instant = found.time(relation, "time", settings.time)
    columns = {
        USER_ID: _id(relation, "user_id", settings.user_id, found.user_id_type()),
        ITEM_ID: _id(relation, "item_id", settings.item_id, found.item_id_type()),
        TS: instant.instant(),
    }
    # What the source lacks is not sent as a null of every row.
    if settings.rating:
        columns[RATING] = _rating(relation, settings.rating)
    if settings.event:
        columns[EVENT] = _text(relation, "event", settings.event)
    return statement(
        "extract/interactions",
        columns=_named(columns),
        relation=relation.sql,
        before=instant.before(as_of, since),
    )


def _halves(whole: sql.Composable, pages: int) -> list[sql.Composable]:
    """Return a query on a table as one on its first pages, and one on the others."""
    half = sql.SQL("{}and {} {} {}::tid")
    place, start = sql.Identifier(ALIAS, "ctid"), sql.Literal(f"({pages},0)")
    return [half.format(whole, place, sql.SQL(side), start) for side in ("<", ">=")]


def _kept(found: Tables, until: datetime) -> sql.Composable:
    relation = found.interactions
    time = found.time(relation, "time", found.settings.time)
    return statement("extract/kept", relation=relation.sql, earlier=time.earlier(until))


def _origin(connection: db.PgConnection, query: sql.Composable) -> str:
    database = connection.info.dsn_parameters
    # The user and the options decide what a name without a schema, or a row-level policy, gives.
    where = [database.get(key, "") for key in ("host", "port", "dbname", "user", "options")]
    text = "\n".join([*where, query.as_string(connection)])
    return hashlib.sha256(text.encode()).hexdigest()


def _items(found: Tables, item_type: IdType) -> sql.Composable | None:
    settings, relation = found.settings.items, found.items
    if relation is None:
        return None
    available = _flag(relation, "available", settings.available)
    if settings.available_sql:
        # Line breaks, for the expression may end in a comment.
        available = sql.SQL("(\n{}\n)").format(sql.SQL(settings.available_sql))
    item = _id(relation, "item_id", settings.item_id, item_type)
    columns = {
        ITEM_ID: item,
        TITLE: _text(relation, "title", settings.title),
        CREATED_AT: found.created(relation, settings.created_at),
        AVAILABLE: sql.SQL("coalesce({}, true)").format(available),
        **feature_values(relation, settings),
    }
    return statement(
        "extract/items", columns=_named(columns), relation=relation.sql, item_value=item
    )


def _users(found: Tables, user_type: IdType) -> sql.Composable | None:
    settings, relation = found.settings.users, found.users
    if relation is None:
        return None
    user = _id(relation, "user_id", settings.user_id, user_type)
    active = _flag(relation, "active", settings.active)
    columns = {
        USER_ID: user,
        CREATED_AT: found.created(relation, settings.created_at),
        ACTIVE: sql.SQL("coalesce({}, true)").format(active),
        **feature_values(relation, settings),
        SEGMENT: _text(relation, "segment", settings.segment),
    }
    return statement(
        "extract/users", columns=_named(columns), relation=relation.sql, user_value=user
    )


def _named(columns: Mapping[str, sql.Composable]) -> sql.Composable:
    return sql.SQL(", ").join(
        sql.SQL("{} as {}").format(value, sql.Identifier(name)) for name, value in columns.items()
    )


def _id(relation: Relation, key: str, name: str, as_type: IdType) -> sql.Composable:
    cast = "text" if as_type == "uuid" else as_type
    return sql.SQL("{}::{}").format(relation.column(key, name).sql, sql.SQL(cast))


def _text(relation: Relation, key: str, name: str) -> sql.Composable:
    if not name:
        return sql.SQL("null::text")
    return sql.SQL("{}::text").format(relation.column(key, name).sql)


def _rating(relation: Relation, name: str) -> sql.Composable:
    column = relation.column("rating", name)
    if column.type == "real":
        return column.sql
    if column.type not in NUMBER_TYPES:
        raise ConfigError(
            f"{relation.setting}.rating: expected a number, one of {', '.join(NUMBER_TYPES)}. "
            f"Received: {column.type}, column {name} of {relation.label}"
        )
    return column.float8


def _flag(relation: Relation, key: str, name: str) -> sql.Composable:
    if not name:
        return sql.SQL("null::boolean")
    column = relation.column(key, name)
    if column.type != "boolean":
        hint = f' Or set available_sql, such as available_sql = "{name} > 0".'
        raise ConfigError(
            f"{relation.setting}.{key}: expected a boolean column. Received: {column.type}, column "
            f"{name} of {relation.label}.{hint if key == 'available' else ''}"
        )
    return column.sql


def _explain(connection: db.PgConnection, query: str, relation: Relation) -> dict[str, Any]:
    """Let the server check a query, and return the top of its plan."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("explain (format json) {}").format(sql.SQL(query)))
            plans: list[dict[str, Any]] = cursor.fetchall()[0][0]
    except psycopg2.errors.InsufficientPrivilege:
        raise
    except (psycopg2.ProgrammingError, psycopg2.DataError) as error:
        raise ConfigError(
            f"{relation.setting}: the query on {relation.label} does not run: "
            f"{db.first_line(error)}"
        ) from error
    top: dict[str, Any] = plans[0]["Plan"]
    return top
