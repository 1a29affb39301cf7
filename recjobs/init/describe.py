"""Which columns say something of an item or a user: text, categories, numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg2

from recjobs import db
from recjobs.init.choose import TEXTS
from recjobs.init.sides import Side
from recjobs.init.words import (
    CATEGORY,
    CREATED,
    OTHER_MOMENT,
    PRIVATE,
    USER_CATEGORY,
    looks_like_id,
    words,
)
from recjobs.source import Column, statement
from recjobs.source.catalog import NUMBER_TYPES
from recjobs.source.questions import ask

_SEPARATORS: Final = ("|", ",", ";")
#: From this share of texts on, a separator separates.
_SEPARATED: Final = 0.2
#: Texts of which so few differ are categories.
_FEW_DISTINCT: Final = 0.1
_SHORT: Final = 40


@dataclass(frozen=True, slots=True)
class Described:
    """Columns of a table by what they say.

    Attributes:
        text: Words.
        categories: One or several categories each.
        separator: Between several categories in a text column.
        numbers: Numbers and dates.
    """

    text: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    separator: str = "|"
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Texts:
    n: int
    distinct: int
    length: float
    shares: tuple[float, ...]

    @property
    def separator(self) -> str:
        best = max(range(len(_SEPARATORS)), key=lambda place: self.shares[place])
        return _SEPARATORS[best] if self.shares[best] >= _SEPARATED else ""


def items(connection: db.PgConnection, side: Side) -> Described:
    """Return what the table of items says of them."""
    text = [side.title.name] if side.title else []
    categories, numbers, separators = [], [], []
    for column in _free(side):
        kind = _kind(side, column)
        if kind == "text":
            found = _look(connection, side, column)
            if found is None or not found.n:
                continue
            few = found.distinct <= max(_FEW_DISTINCT * found.n, 2) and found.length < _SHORT
            if words(column.name) & CATEGORY or few:
                categories.append(column.name)
                separators.append(found.separator)
            elif found.length >= 3:
                text.append(column.name)
        elif kind == "category":
            categories.append(column.name)
        elif kind == "number":
            numbers.append(column.name)
    separator = max(filter(None, separators), key=separators.count, default="|")
    return Described(tuple(text), tuple(categories), separator, tuple(numbers))


def users(side: Side) -> Described:
    """Return what the table of users says that tells nobody who somebody is."""
    categories, numbers = [], []
    for column in _free(side):
        said, kind = words(column.name), _kind(side, column)
        if said & USER_CATEGORY and kind in ("text", "category"):
            categories.append(column.name)
        elif "age" in said and kind == "number":
            numbers.append(column.name)
    return Described(categories=tuple(categories), numbers=tuple(numbers))


def _free(side: Side) -> Iterator[Column]:
    """Yield the columns that say nothing else, and name no person."""
    taken = {side.id, side.title, side.created, side.available, side.unavailable}
    for column in side.table.columns.values():
        said = words(column.name)
        other = said & (PRIVATE | OTHER_MOMENT) or (said & CREATED and "date" not in column.type)
        if column not in taken and not other and column.name not in side.table.unique:
            yield column


def _kind(side: Side, column: Column) -> str:
    if column.type.endswith("[]") or column.name in side.table.foreign:
        return "category"
    if column.type in TEXTS:
        return "text"
    if column.type in NUMBER_TYPES:
        if not looks_like_id(column.name):
            return "number"
        return "category" if words(column.name) & CATEGORY else ""
    if column.type == "date":
        return "number"
    if column.type == "boolean" or not any(map(column.type.startswith, _OTHER)):
        return "category"  # an enumeration has a name of its own
    return ""


_OTHER: Final = ("time", "date", "interval", "uuid", "json", "bytea", "xml", "ts", "inet", "point")


def _look(connection: db.PgConnection, side: Side, column: Column) -> _Texts | None:
    parts = {"value": column.sql, "relation": side.table.relation.sql}
    try:
        [(n, distinct, length, *shares)] = ask(connection, statement("init/texts", **parts))
    except psycopg2.errors.QueryCanceled:
        return None
    return _Texts(n, distinct, length, tuple(shares))
