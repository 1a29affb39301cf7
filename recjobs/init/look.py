"""What tables a database has, with the keys that tie them together."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from recjobs import db
from recjobs.errors import ConfigError
from recjobs.source import Column, Relation, of_table
from recjobs.source.questions import ask


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view that this role may read.

    Attributes:
        name: With its schema, as in the settings.
        relation: For queries on it.
        is_view: Whether it is a view.
        guessed_rows: The planner's guess; negative where it has none.
        unique: Columns that alone are unique.
        foreign: For a column with a foreign key, the table (with its schema) and column it names.
    """

    name: str
    relation: Relation
    is_view: bool
    guessed_rows: int
    unique: frozenset[str]
    foreign: Mapping[str, tuple[str, str]]

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns by name."""
        return self.relation.columns


@dataclass(frozen=True, slots=True)
class Database:
    """What was found.

    Attributes:
        tables: By name.
        passed_over: Why others were not looked at, by name.
    """

    tables: Mapping[str, Table]
    passed_over: Mapping[str, str]


def look(connection: db.PgConnection, schema: str | None) -> Database:
    """Look at the tables of one schema, or of all.

    Raises:
        ConfigError: There is no such schema.
        psycopg2.Error: The server failed.
    """
    if schema is not None:
        known = [str(row[0]) for row in ask(connection, db.query("init/schemas"))]
        if schema not in known:
            near = difflib.get_close_matches(schema, known, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ConfigError(
                f"--schema: there is no schema {schema!r}{hint}. There are: {', '.join(known)}."
            )
    rows = ask(connection, db.query("init/tables"), {"schema": schema})
    unique: dict[str, set[str]] = {}
    for table_schema, table, column in ask(connection, db.query("init/unique_columns")):
        unique.setdefault(f"{table_schema}.{table}", set()).add(column)
    foreign: dict[str, dict[str, tuple[str, str]]] = {}
    for table_schema, table, column, *there in ask(connection, db.query("init/foreign_keys")):
        named = (f"{there[0]}.{there[1]}", there[2])
        foreign.setdefault(f"{table_schema}.{table}", {})[column] = named

    tables, passed_over = {}, {}
    for table_schema, table, is_view, is_readable, guessed_rows in rows:
        name = f"{table_schema}.{table}"
        if not is_readable:
            passed_over[name] = "this role may not read it"
        elif "." in table_schema:
            passed_over[name] = "its schema has a dot in its name, which the settings can't say"
        else:
            with connection:
                relation = of_table(connection, name, "source")
            keys = frozenset(unique.get(name, ()))
            tables[name] = Table(name, relation, is_view, guessed_rows, keys, foreign.get(name, {}))
    return Database(tables, passed_over)
