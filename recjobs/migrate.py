"""The job's tables: numbered SQL files, applied once each, in order, in one transaction.

``sql/schema/NNN_name.sql`` are templates: names are filled in quoted, id types from an allow-list.
What was applied is recorded in the schema with a checksum, so a file that was changed afterwards
and another id type are both refused. Roles and grants are stated anew each time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from psycopg2 import sql

from recjobs import db
from recjobs.columns import ID_TYPES, IdType
from recjobs.config import Settings
from recjobs.errors import ConfigError, DatabaseError
from recjobs.source import id_types

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_SIDES: Final = ("user", "item")


@dataclass(frozen=True, slots=True)
class Target:
    """Whose tables to make.

    Attributes:
        schema: The job's schema.
        user_id_type: The SQL type of user ids.
        item_id_type: The SQL type of item ids.
        writer: The role that owns everything; None leaves out roles and grants.
        reader: The role that reads the views; None with ``writer``.
    """

    schema: str
    user_id_type: IdType
    item_id_type: IdType
    writer: str | None = None
    reader: str | None = None

    def __post_init__(self) -> None:
        for side, type_ in (("user", self.user_id_type), ("item", self.item_id_type)):
            if type_ not in ID_TYPES:
                raise ConfigError(
                    f"type of {side} ids: expected one of {', '.join(ID_TYPES)}. Received: {type_}"
                )


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``sql/schema``."""

    number: int
    name: str
    template: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hex."""
        return hashlib.sha256(self.template.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Pending:
    """What is left to be made.

    Attributes:
        schema: Whether the schema is missing.
        record: Whether the table of applied migrations is.
        migrations: Those to apply, in order.
    """

    schema: bool
    record: bool
    migrations: tuple[Migration, ...]


def migrate(settings: Settings, *, roles: bool = True) -> list[str]:
    """Create or update a job's tables and return the names of the migrations that were applied.

    Args:
        settings: The job; the ids' types are looked up in its source.
        roles: Make the job's roles and grant them their rights. Needs CREATEROLE where they do not
            exist yet.

    Raises:
        ConfigError: The schema holds ids of another type, an applied file was changed, the schema
            is another role's or holds other tables, or a right is missing.
        DatabaseError: The server failed.
    """
    return apply(settings.target.resolve(), _target(settings, roles))


def script(settings: Settings, *, roles: bool = True) -> str:
    """Return as one SQL text what `migrate` would run now, for a person to read and run.

    A target that can't be reached is taken for an empty one, and the text says so.
    """
    target = _target(settings, roles)
    try:
        with db.connect(settings.target.resolve()) as connection:
            pending = _pending(connection, target)
            note = f"{len(pending.migrations)} of {len(files())} migrations are to be applied."
    except DatabaseError as error:
        pending = Pending(schema=True, record=True, migrations=tuple(files()))
        why = " ".join(str(error).split())
        note = f"Every migration, for the target was not reached: {why}"
    return text(target, pending, note)


def apply(dsn: str, target: Target) -> list[str]:
    """Apply what is pending and return its names; see `migrate`."""
    with db.connect(dsn) as connection:
        _run(connection, fill("migrate/lock", target))
        pending = _pending(connection, target)
        for statement in _statements(target, pending):
            _run(connection, statement)
    return [migration.name for migration in pending.migrations]


def text(target: Target, pending: Pending, note: str) -> str:
    """Return a script that psql runs as it is, in one transaction."""
    head = f"-- recjobs: the tables of schema {target.schema}. {note}"
    if target.writer:
        head += (
            f"\n-- Afterwards grant {quoted(target.writer)} to the user that runs the job, and "
            f"{quoted(target.reader or '')} to those who read the lists."
        )
    statements = [fill("migrate/lock", target), *_statements(target, pending)]
    return "\n".join([head, "\\set ON_ERROR_STOP on", "begin;", "", *statements, "commit;", ""])


def files() -> list[Migration]:
    """Return all migrations, in order."""
    paths = sorted((db.sql_folder() / "schema").glob("[0-9][0-9][0-9]_*.sql"))
    return [Migration(int(p.stem[:3]), p.stem, p.read_text(encoding="utf-8")) for p in paths]


def fill(name: str, target: Target, /, **literals: Any) -> str:
    """Return ``sql/<name>.sql`` with its placeholders filled."""
    path: Path = db.sql_folder() / f"{name}.sql"
    return _filled(path.read_text(encoding="utf-8"), target, literals)


def quoted(identifier: str) -> str:
    """Return a name as SQL reads it."""
    return '"' + identifier.replace('"', '""') + '"'


def _statements(target: Target, pending: Pending) -> Iterator[str]:
    if target.writer:
        yield fill("migrate/roles", target)
    if pending.schema:
        yield fill("migrate/owned_schema" if target.writer else "migrate/schema", target)
    if target.writer:
        yield fill("migrate/as_writer", target)
    if pending.record:
        yield fill("migrate/bookkeeping", target)
    for migration in pending.migrations:
        yield _filled(migration.template, target, {})
        yield fill(
            "migrate/record",
            target,
            number=migration.number,
            name=migration.name,
            checksum=migration.checksum,
        )
    if target.writer:
        yield fill("migrate/grants", target)


def _filled(template: str, target: Target, literals: dict[str, Any]) -> str:
    names = {"schema": target.schema, "writer": target.writer, "reader": target.reader}
    types = {"user_id_type": target.user_id_type, "item_id_type": target.item_id_type}
    values = {name: quoted(value) for name, value in names.items() if value}
    values |= types
    values |= {f"{side}_id_column": _column_type(types[f"{side}_id_type"]) for side in _SIDES}
    values |= {f"{side}_id_collate": _collate(types[f"{side}_id_type"]) for side in _SIDES}
    texts = {**names, **types, **literals}
    values |= {f"{k}_literal": "'" + str(v).replace("'", "''") + "'" for k, v in texts.items()}
    values |= {name: str(value) for name, value in literals.items() if isinstance(value, int)}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _column_type(type_: IdType) -> str:
    # By bytes, as Python orders ids; and what the primary key is then fastest with.
    return f"{type_}{_collate(type_)}"


def _collate(type_: IdType) -> str:
    return ' collate "C"' if type_ == "text" else ""


def _target(settings: Settings, roles: bool) -> Target:
    user_id_type, item_id_type = id_types(settings.source, settings.source.resolve())
    schema = settings.job.db_schema
    if not roles:
        return Target(schema, user_id_type, item_id_type)
    return Target(
        schema,
        user_id_type,
        item_id_type,
        writer=settings.publish.writer_role or f"{schema}_writer",
        reader=settings.publish.reader_role or f"{schema}_reader",
    )


def _pending(connection: db.PgConnection, target: Target) -> Pending:
    rows = db.execute(connection, db.query("migrate/state"), {"schema": target.schema})
    owner, has_record, is_taken = rows[0] if rows else (None, False, False)
    if is_taken:
        raise ConfigError(
            f"schema {target.schema} holds tables that are none of ours: set job.schema to another"
        )
    if owner and target.writer and owner != target.writer:
        raise ConfigError(
            f"schema {target.schema} belongs to role {owner}, not to {target.writer}: migrate with "
            f"--no-roles as {owner}, or name the role in publish.writer_role, or: alter schema "
            f"{quoted(target.schema)} owner to {quoted(target.writer)} (and every table in it)"
        )
    query = db.query("migrate/applied", schema=target.schema)
    applied = db.execute(connection, query) if has_record else []
    _require_same(target, applied)
    done = {row[0] for row in applied}
    left = tuple(migration for migration in files() if migration.number not in done)
    return Pending(schema=owner is None, record=not has_record, migrations=left)


def _require_same(target: Target, applied: Sequence[tuple[Any, ...]]) -> None:
    """Refuse a schema that was made for other ids, or by other files."""
    known = {migration.number: migration for migration in files()}
    wanted = (target.user_id_type, target.item_id_type)
    for number, name, checksum, *types in applied:
        if tuple(types) != wanted:
            raise ConfigError(
                f"schema {target.schema} holds ids of type {types[0]} (users) and {types[1]} "
                f"(items), the source has {wanted[0]} and {wanted[1]}. Cast the source's ids in an "
                "SQL file (source.sql_file), or take another schema (job.schema), or drop this "
                f"one with all its runs: drop schema {quoted(target.schema)} cascade"
            )
        if number not in known:
            raise ConfigError(
                f"schema {target.schema} was migrated by a newer recjobs ({name}): upgrade recjobs"
            )
        if known[number].checksum != checksum:
            raise ConfigError(
                f"migration {name} was changed after it was applied to schema {target.schema}: "
                "put the file back as it was, and add a new one for the change"
            )


def _run(connection: db.PgConnection, statement: str) -> None:
    db.execute(connection, sql.SQL(statement))
