"""The columns that say something of an item or a user: text, categories and numbers, as SQL.

One text, a text for each column of categories (its values joined by `JOINED_BY`), and a number for
each column of numbers: `column_name` names the latter two by their places in the settings.
"""

from __future__ import annotations

from typing import Final

from psycopg2 import sql

from recjobs.columns import CATEGORIES, NUMBERS, TEXT
from recjobs.config import FeatureColumns
from recjobs.errors import ConfigError
from recjobs.source.catalog import MOMENT_TYPES, NUMBER_TYPES, Column, Relation

#: Joins the values of one column of categories: no text that people read holds it.
JOINED_BY: Final = "\x1f"

TEXTS: Final = ("text", "character varying", "character", "citext", "name")
#: What no category can be.
_OPAQUE: Final = ("bytea", "json", "jsonb", "xml", "tsvector")


def feature_values(relation: Relation, settings: FeatureColumns) -> dict[str, sql.Composable]:
    """Return the expressions by the names of their columns.

    Raises:
        ConfigError: A column is missing or of a type that does not fit.
    """
    found: dict[str, list[sql.Composable]] = {TEXT: [], CATEGORIES: [], NUMBERS: []}
    for key, expressions in found.items():
        for name in getattr(settings, key):
            column = relation.column(key, name)
            if key == TEXT:
                expressions.append(_text(relation, column))
            elif key == CATEGORIES:
                expressions.append(_categories(relation, column, settings.separator))
            else:
                expressions.append(_number(relation, column))
    texts = sql.SQL(", ").join(found.pop("text") or [sql.SQL("null::text")])
    values: dict[str, sql.Composable] = {
        TEXT: sql.SQL("concat_ws({}, {})").format(sql.Literal("\n"), texts)
    }
    for key, expressions in found.items():
        for place, expression in enumerate(expressions):
            values[column_name(key, place)] = expression
    return values


def column_name(key: str, place: int) -> str:
    """Return the name of the column for the setting's entry at a place: ``categories_0``."""
    return f"{key}_{place}"


def _text(relation: Relation, column: Column) -> sql.Composable:
    if _is_array(column):
        return sql.SQL("array_to_string({}::text[], {})").format(column.sql, sql.Literal(" "))
    if column.type not in TEXTS:
        raise _unfit(relation, "text", column, f"text: {', '.join(TEXTS)} or an array of these")
    return sql.SQL("{}::text").format(column.sql)


def _categories(relation: Relation, column: Column, separator: str) -> sql.Composable:
    joined = sql.Literal(JOINED_BY)
    if _is_array(column):
        return sql.SQL("array_to_string({}::text[], {})").format(column.sql, joined)
    if column.type in _OPAQUE:
        raise _unfit(relation, "categories", column, "text, an array, or one value per row")
    if column.type in TEXTS and separator:
        parts = (column.sql, sql.Literal(separator), joined)
        return sql.SQL("replace({}::text, {}, {})").format(*parts)
    return sql.SQL("{}::text").format(column.sql)


def _number(relation: Relation, column: Column) -> sql.Composable:
    if column.type in NUMBER_TYPES:
        return column.float8
    if column.type == "boolean":
        return sql.SQL("{}::integer::float8").format(column.sql)
    if column.type in MOMENT_TYPES:
        return sql.SQL("extract(epoch from {})::float8 / 86400").format(column.sql)
    types = ", ".join((*NUMBER_TYPES, "boolean", *MOMENT_TYPES))
    raise _unfit(relation, "numbers", column, f"a number, a boolean or a time: {types}")


def _is_array(column: Column) -> bool:
    return column.type.endswith("[]")


def _unfit(relation: Relation, key: str, column: Column, expected: str) -> ConfigError:
    return ConfigError(
        f"{relation.setting}.{key}: expected {expected}. Received: {column.type}, column "
        f"{column.name} of {relation.label}. Cast it in a view or an SQL file."
    )
