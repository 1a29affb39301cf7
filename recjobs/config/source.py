"""Where the interactions, the items and the users are, and what their columns mean."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from recjobs.config.connection import Connection
from recjobs.config.section import Section, at_most_one
from recjobs.errors import ConfigError
from recjobs.instants import zone


class FeatureColumns(Section):
    """Columns that say something of an item or a user; for models that learn from it."""

    table: str = ""
    sql_file: str = ""
    text: tuple[str, ...] = ()  #: words: titles, descriptions, a user's search queries
    categories: tuple[str, ...] = ()  #: a text column of several, an array, or one value per row
    separator: str = "|"  #: between several categories in a text column; "" for one per row
    numbers: tuple[str, ...] = ()  #: numbers, booleans, dates or times

    @field_validator("text", "categories", "numbers")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice or "" in value:
            raise ValueError(f"expected distinct names of columns, twice: {twice or ['']}")
        return value

    @model_validator(mode="after")
    def _of_a_table(self) -> FeatureColumns:
        at_most_one(self, "table", "sql_file")
        for key in ("text", "categories", "numbers"):
            if getattr(self, key) and not (self.table or self.sql_file):
                raise ValueError(f"{key} names columns: give the table (or sql_file) that has them")
        return self


class ItemSource(FeatureColumns):
    """The table of items: titles, availability, creation, what they are."""

    item_id: str = "item_id"
    title: str = ""
    created_at: str = ""
    available: str = ""  #: a boolean column; null counts as available, an item without a row not
    available_sql: str = ""  #: or a boolean SQL expression over the item's columns

    @model_validator(mode="after")
    def _consistent(self) -> ItemSource:
        at_most_one(self, "available", "available_sql")
        return self


class UserSource(FeatureColumns):
    """The table of users: who is eligible for a list, what is known of them."""

    user_id: str = "user_id"
    created_at: str = ""
    active: str = ""  #: a boolean column; null counts as active
    segment: str = ""  #: a column that many share, such as a country: a popular list for each


class SourceSettings(Connection):
    """The table (or SQL file) of interactions and what its columns mean."""

    table: str = ""
    sql_file: str = ""
    user_id: str = "user_id"
    item_id: str = "item_id"
    time: str = "ts"
    time_unit: Literal["", "s", "ms"] = ""  #: for an integer time column: epoch seconds or ms
    source_timezone: str = ""  #: required for `timestamp` columns; of `date` columns, default UTC
    rating: str = ""
    event: str = ""
    #: one night in so many reads everything, the others only what earlier nights do not keep
    full_every: int = Field(default=1, ge=1)
    late_days: int = Field(default=3, ge=1, le=366)  #: the last days, which every night reads anew
    items: ItemSource = ItemSource()
    users: UserSource = UserSource()

    @model_validator(mode="after")
    def _consistent(self) -> SourceSettings:
        at_most_one(self, "table", "sql_file")
        if not (self.table or self.sql_file):
            raise ValueError("give the interactions as table or sql_file")
        if self.source_timezone:
            zone(self.source_timezone)
        return self


def read_sql_file(path: str) -> str:
    """Return the text of a source's SQL file, without a closing semicolon.

    Raises:
        ConfigError: The file can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip().rstrip(";")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"source sql_file {path} can't be read: {error}") from error
