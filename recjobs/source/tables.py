"""The relations that the settings name, and what the ids in them become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg2 import sql

from recjobs import db
from recjobs.columns import IdType
from recjobs.config import SourceSettings
from recjobs.errors import ConfigError
from recjobs.source.catalog import Relation, id_type, relation_of
from recjobs.source.times import TimeColumn

_INTEGERS: Final = ("integer", "bigint")


@dataclass(frozen=True, slots=True)
class Tables:
    """The settings and the relations that they name.

    Attributes:
        settings: The settings.
        interactions: The relation of the interactions.
        items: The relation of the items; None where none is configured.
        users: The relation of the users, likewise.
    """

    settings: SourceSettings
    interactions: Relation
    items: Relation | None
    users: Relation | None

    @classmethod
    def look(cls, connection: db.PgConnection, settings: SourceSettings) -> Tables:
        """Look them up.

        Raises:
            ConfigError: A table is missing, or an SQL file can't be read or does not run.
            DatabaseError: The server failed.
        """
        interactions = relation_of(connection, settings)
        if interactions is None:
            raise ConfigError("source: give the interactions as table or sql_file")
        items = relation_of(connection, settings.items)
        return cls(settings, interactions, items, relation_of(connection, settings.users))

    def user_id_type(self) -> IdType:
        """Return what the ids of users become; `ConfigError` where they fit nothing."""
        return _common_type("user_id", self.settings.user_id, self.interactions,
                            self.settings.users.user_id, self.users)  # fmt: skip

    def item_id_type(self) -> IdType:
        """Return what the ids of items become; `ConfigError` where they fit nothing."""
        return _common_type("item_id", self.settings.item_id, self.interactions,
                            self.settings.items.item_id, self.items)  # fmt: skip

    def time(self, relation: Relation, key: str, name: str) -> TimeColumn:
        """Return a time column of one of them; `ConfigError` where it is none."""
        settings = self.settings
        return TimeColumn.of(
            relation, key, name, unit=settings.time_unit, zone=settings.source_timezone
        )

    def created(self, relation: Relation, name: str) -> sql.Composable:
        """Return when each row was created, as an instant; null where no column says."""
        if not name:
            return sql.SQL("null::timestamptz")
        return self.time(relation, "created_at", name).instant()


def id_types(source: SourceSettings, dsn: str) -> tuple[IdType, IdType]:
    """Return what the ids of users and of items become: the types of the published tables.

    Raises:
        ConfigError: A table or a column is missing, or ids of its type are refused.
        DatabaseError: The server can't be reached.
    """
    with db.connect(dsn) as connection:
        found = Tables.look(connection, source)
        return found.user_id_type(), found.item_id_type()


def _common_type(
    key: str, name: str, interactions: Relation, other_name: str, other: Relation | None
) -> IdType:
    """Return the type that both relations' ids fit: the wider of two integers, else the same."""
    column = interactions.column(key, name)
    here = id_type(interactions, key, column)
    if other is None:
        return here
    other_column = other.column(key, other_name)
    there = id_type(other, key, other_column)
    if here == there:
        return here
    if here in _INTEGERS and there in _INTEGERS:
        return "bigint"
    raise ConfigError(
        f"{other.setting}.{key}: expected ids like those of {interactions.label}, {column.type}. "
        f"Received: {other_column.type}, column {other_name} of {other.label}. Cast one of them in "
        "a view or an SQL file."
    )
