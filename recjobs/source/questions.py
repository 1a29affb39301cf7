"""Short questions to a database: each in a transaction of its own, with a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from psycopg2 import sql

from recjobs import db
from recjobs.source.catalog import Column, Relation, statement

#: Longer than this no question may keep a server busy.
PATIENCE_SECONDS = 20

#: Epochs in seconds stay below it until the year 5138; in milliseconds they pass it in 1973.
_SECONDS_END: Final = 10**11
_MILLISECONDS_END: Final = 10**14


def ask(
    connection: db.PgConnection, statement: sql.Composable, params: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows of one statement.

    Raises:
        psycopg2.errors.QueryCanceled: It took longer than `PATIENCE_SECONDS`.
        psycopg2.Error: The server failed or refused.
    """
    with connection, connection.cursor() as cursor:
        limit = (f"{PATIENCE_SECONDS}s",)
        cursor.execute("select set_config('statement_timeout', %s, true)", limit)
        cursor.execute(statement, params)
        return cursor.fetchall()


def epoch(
    connection: db.PgConnection, relation: Relation, column: Column
) -> tuple[str, int] | None:
    """Return the unit that an integer column's values look like, and one of them.

    The unit is ``"s"``, ``"ms"``, or ``""`` for neither; None where there are no values.
    """
    question = statement("source/time_range", time_value=column.sql, relation=relation.sql)
    [(_, greatest)] = ask(connection, question)
    if greatest is None:
        return None
    value = int(greatest)
    if value <= 0 or value >= _MILLISECONDS_END:
        return "", value
    return ("s" if value < _SECONDS_END else "ms"), value
