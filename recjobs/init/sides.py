"""Which tables hold the items and the users, and which of their columns say what."""

from __future__ import annotations

from dataclasses import dataclass

from recjobs.init.choose import TEXTS, Interactions, named
from recjobs.init.look import Database, Table
from recjobs.init.words import AVAILABLE, CREATED, ITEM, TITLE, UNAVAILABLE, USER, words
from recjobs.source.catalog import MOMENT_TYPES, SOURCE_ID_TYPES, Column


@dataclass(frozen=True, slots=True)
class Side:
    """The table of items or of users.

    Attributes:
        table: The table.
        id: Its column of ids.
        why: What ties it to the interactions.
        title: Its column of titles, if it has one.
        created: Its column of creation times, if it has one.
        available: A boolean column that says who or what counts, if it has one.
        unavailable: A boolean column that says the contrary, or a time of deletion, if it has one.
    """

    table: Table
    id: Column
    why: str
    title: Column | None
    created: Column | None
    available: Column | None
    unavailable: Column | None


def items_of(database: Database, chosen: Interactions) -> Side | None:
    """Return the table of the items, if there is one."""
    return _side(database, chosen, chosen.item, ITEM)


def users_of(database: Database, chosen: Interactions) -> Side | None:
    """Return the table of the users, if there is one."""
    return _side(database, chosen, chosen.user, USER)


def _side(
    database: Database, chosen: Interactions, column: Column, side: frozenset[str]
) -> Side | None:
    found = _tied(database, chosen.table, column, side)
    if found is None:
        return None
    table, id_column, why = found
    taken = {id_column.name}
    return Side(
        table=table,
        id=id_column,
        why=why,
        title=named(table, TITLE, TEXTS, taken),
        created=named(table, CREATED, MOMENT_TYPES, taken),
        available=named(table, AVAILABLE, ("boolean",), taken),
        unavailable=named(table, UNAVAILABLE, ("boolean", *MOMENT_TYPES), taken),
    )


def _tied(
    database: Database, interactions: Table, column: Column, side: frozenset[str]
) -> tuple[Table, Column, str] | None:
    """Return the table that a column's ids are those of, its id column, and what says so."""
    if column.name in interactions.foreign:
        name, key = interactions.foreign[column.name]
        if name in database.tables:
            return database.tables[name], database.tables[name].columns[key], "by a foreign key"
    schema = interactions.name.split(".", 1)[0]
    said = words(column.name) & side
    for table in sorted(database.tables.values(), key=lambda t: not t.name.startswith(schema)):
        if table is interactions:
            continue
        for key in sorted(table.unique, key=lambda name: name != column.name):
            alike = key == column.name
            # movies.id is what movie_id means.
            named = key == "id" and words(table.name.split(".", 1)[1]) & said
            if (alike or named) and _fits(column, table.columns[key]):
                return table, table.columns[key], "by its name"
    return None


def _fits(one: Column, other: Column) -> bool:
    types = [SOURCE_ID_TYPES.get(column.type) for column in (one, other)]
    return None not in types and (types[0] == types[1] or {*types} == {"bigint", "integer"})
