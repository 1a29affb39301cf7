"""What relations the source has, which columns, and of which types.

A relation is a table or view named in the settings, or an SQL file, wrapped as a subquery.
Nothing is written or locked: the source may be a read replica.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2 import sql

from recjobs import db
from recjobs.columns import IdType
from recjobs.config import ItemSource, SourceSettings, UserSource, read_sql_file
from recjobs.errors import ConfigError, DatabaseError

#: How a relation is called inside a query.
ALIAS: Final = "s"

#: SQL types that an id may have in the source, and what each becomes.
SOURCE_ID_TYPES: Final[Mapping[str, IdType]] = {
    "bigint": "bigint",
    "integer": "integer",
    "smallint": "integer",
    "uuid": "uuid",
    "text": "text",
    "character varying": "text",
}
NUMBER_TYPES: Final = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
#: SQL types of a point in time.
MOMENT_TYPES: Final = ("timestamp with time zone", "timestamp without time zone", "date")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the source.

    Attributes:
        name: As in the catalog.
        type: The SQL type's name, without a length; of a domain, the type below it.
        not_null: Whether the catalog rules out nulls.
    """

    name: str
    type: str
    not_null: bool = False

    @property
    def float8(self) -> sql.Composable:
        """A column of numbers as float8; a numeric beyond it is infinite, for its cast would fail.

        One nearer to 0 than float8 holds is 0.
        """
        if self.type != "numeric":
            return sql.SQL("{}::float8").format(self.sql)
        return sql.SQL(
            "case when abs({0}) < 1e-300 then 0 when abs({0}) <= 1e300 then {0}::float8"
            " else sign({0})::float8 * 'infinity'::float8 end"
        ).format(self.sql)

    @property
    def sql(self) -> sql.Composable:
        """The column inside a query on its relation, quoted."""
        return sql.Identifier(ALIAS, self.name)


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, a view or an SQL file of the source.

    Attributes:
        label: What it is in messages: ``table app.ratings``, ``SQL file ratings.sql``.
        setting: The settings' section that names it, such as ``source.items``.
        sql: What stands behind ``from``, alias and all.
        columns: By name, in order.
        pages: Of a plain table that may be read whole, about; else 0.
    """

    label: str
    setting: str
    sql: sql.Composable
    columns: Mapping[str, Column]
    pages: int = 0

    def column(self, key: str, name: str) -> Column:
        """Return the column that the setting ``key`` names.

        Raises:
            ConfigError: There is no such column; names those that there are, and the nearest.
        """
        if name in self.columns:
            return self.columns[name]
        raise ConfigError(
            f"{self.setting}.{key}: {self.label} has no column {name!r}"
            f"{_nearest(name, self.columns)}. Its columns: {', '.join(self.columns)}."
        )


def relation_of(
    connection: db.PgConnection, settings: SourceSettings | ItemSource | UserSource
) -> Relation | None:
    """Look up the relation that a section of the settings names; None where it names none.

    Raises:
        ConfigError: There is no such table, or the SQL file can't be read or does not run.
        DatabaseError: The server failed.
    """
    setting = _SECTIONS[type(settings)]
    if settings.sql_file:
        return _of_file(connection, settings.sql_file, setting)
    return of_table(connection, settings.table, setting) if settings.table else None


def of_table(connection: db.PgConnection, table: str, setting: str) -> Relation:
    """Look up a table or view, ``"ratings"`` or ``"app.ratings"``.

    Raises:
        ConfigError: There is no such table; names the nearest and those that there are.
    """
    name = db.qualified(table)
    quoted = {"name": name.as_string(connection)}
    found = db.execute(connection, db.query("extract/relation"), quoted)
    if not found:
        rows = db.execute(connection, db.query("extract/relations"))
        known = [str(row[0]) for row in rows]
        shown = ", ".join(known[:20]) + (", …" if len(known) > 20 else "")
        raise ConfigError(
            f"{setting}.table: the database has no table {table!r}{_nearest(table, known)}. "
            f"It has: {shown or 'no tables that this role can name'}."
        )
    [(relation, pages)] = found
    rows = db.execute(connection, db.query("extract/columns"), {"relation": relation})
    types = _type_names(connection, [row[1] for row in rows])
    columns = {name: Column(name, types[oid], not_null) for name, oid, not_null in rows}
    aliased = sql.SQL("{} as {}").format(name, sql.Identifier(ALIAS))
    return Relation(f"table {table}", setting, aliased, columns, pages)


def _of_file(connection: db.PgConnection, path: str, setting: str) -> Relation:
    # The line breaks keep a closing comment of the file from swallowing the bracket.
    wrapped = sql.SQL("(\n{}\n) as {}").format(sql.SQL(read_sql_file(path)), sql.Identifier(ALIAS))
    label = f"SQL file {Path(path).name}"
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("select * from {} limit 0").format(wrapped))
            described = [(c.name, c.type_code) for c in cursor.description or ()]
    except psycopg2.ProgrammingError as error:
        raise ConfigError(
            f"{setting}.sql_file: {path} does not run: {db.first_line(error)}"
        ) from error
    names = [name for name, _ in described]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{setting}.sql_file: {path} gives two columns the name {twice[0]!r}")
    types = _type_names(connection, [oid for _, oid in described])
    return Relation(label, setting, wrapped, {n: Column(n, types[oid]) for n, oid in described})


def id_type(relation: Relation, key: str, column: Column) -> IdType:
    """Return what an id column becomes outside the source.

    Raises:
        ConfigError: Ids of the column's type are refused.
    """
    found = SOURCE_ID_TYPES.get(column.type)
    if found is None:
        raise ConfigError(
            f"{relation.setting}.{key}: ids may be bigint, integer, smallint, uuid, text or "
            f"varchar. Received: {column.type}, column {column.name} of {relation.label}. Cast it "
            "in a view or an SQL file (source.sql_file), for example to text."
        )
    return found


def _type_names(connection: db.PgConnection, oids: list[int]) -> dict[int, str]:
    rows = db.execute(connection, db.query("extract/types"), {"types": oids})
    names = {int(origin): str(name) for origin, name in rows}
    if missing := set(oids) - set(names):
        raise DatabaseError(f"the catalog has no types {sorted(missing)}: was a type just dropped?")
    return names


def _nearest(name: str, known: Iterable[str]) -> str:
    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f" (did you mean {by_lower[near[0]]!r}?)" if near else ""


def statement(name: str, **parts: sql.Composable) -> sql.Composed:
    """Load one statement, ``"extract/items"``, its places filled with parts quoted already."""
    text = (db.sql_folder() / f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(**parts)


_SECTIONS: Final[Mapping[type, str]] = {
    SourceSettings: "source",
    ItemSource: "source.items",
    UserSource: "source.users",
}
