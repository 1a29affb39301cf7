"""Postgres: connect, load named SQL, read and write columns in bulk.

psycopg2 speaks to both; what moves in bulk goes by COPY BINARY, `copy_binary` in and `source.wire`
out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from recjobs.errors import ConfigError, DatabaseError

PgConnection = psycopg2.extensions.connection

_CONNECT_SECONDS: Final = 10  #: unless the DSN says another connect_timeout
_UNREADABLE_DSN: Final = (
    "the DSN can't be read: expected postgresql://user:password@host:5432/database, with "
    "special characters of the password percent-encoded, or host=… user=… dbname=…"
)
_MISSING = (
    psycopg2.errors.UndefinedTable,
    psycopg2.errors.UndefinedColumn,
    psycopg2.errors.UndefinedFunction,
    psycopg2.errors.InvalidSchemaName,
)


@contextmanager
def connect(dsn: str, *, autocommit: bool = False) -> Iterator[PgConnection]:
    """Open a connection: commit at the block's end, roll back on an error, close in any case.

    With ``autocommit`` each statement is its own transaction.

    Raises:
        DatabaseError: The server can't be reached, or failed or refused a statement.
        ConfigError: The DSN is malformed, a right or a relation is missing.
    """
    try:
        patience = parse_dsn(dsn).get("connect_timeout", _CONNECT_SECONDS)
        connection = psycopg2.connect(dsn, application_name="recjobs", connect_timeout=patience)
    except psycopg2.ProgrammingError:
        # The driver quotes what it can't read, and the password may be a part of that.
        raise ConfigError(_UNREADABLE_DSN) from None
    except psycopg2.OperationalError as error:
        # So it does with a value that is none: an unencoded / makes the password a port.
        if re.search(r"connection option|invalid port number", str(error)):
            raise ConfigError(_UNREADABLE_DSN) from None
        # An unencoded @ in a password makes its rest a part of the host name.
        message = re.sub(r'"[^"@]*@', '"…@', _first_line(error))
        raise DatabaseError(f"can't connect to the database: {message}") from None
    try:
        connection.autocommit = autocommit
        yield connection
        if not autocommit:
            connection.commit()
    except psycopg2.Error as error:
        raise translated(error) from error
    finally:
        connection.close()


def translated(error: psycopg2.Error) -> ConfigError | DatabaseError:
    """Return the error of our tree that says what to do about one of the driver's."""
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return ConfigError(f"a right is missing: {_first_line(error)}. See: recjobs doctor")
    if isinstance(error, _MISSING):
        return ConfigError(
            f"{_first_line(error)}. If it is one of ours, run: recjobs migrate; "
            "if it is one of the source's, see: recjobs doctor"
        )
    if isinstance(error, psycopg2.errors.DependentObjectsStillExist):
        return ConfigError(
            f"{_first_line(error)}: {error.diag.message_detail}. Drop those first, which are none "
            "of ours, and make them again afterwards"
        )
    return DatabaseError(_first_line(error))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@functools.cache
def sql_folder() -> Path:
    """Return the folder of SQL files: inside an installed package, else beside it (a checkout)."""
    packaged = Path(str(resources.files("recjobs"))) / "sql"
    return packaged if packaged.is_dir() else packaged.parents[1] / "sql"


def query(name: str, /, **identifiers: str | Sequence[str]) -> sql.Composed:
    """Load one statement, ``"live/point"`` for ``sql/live/point.sql``, its names quoted.

    ``{schema}`` and its like in the file are replaced by quoted identifiers; a sequence of two
    becomes a qualified name. Values stay parameters, ``%(run_id)s``.
    """
    text = (sql_folder() / f"{name}.sql").read_text(encoding="utf-8")
    quoted = {
        key: sql.Identifier(*([value] if isinstance(value, str) else value))
        for key, value in identifiers.items()
    }
    return sql.SQL(text).format(**quoted)


def execute(
    connection: PgConnection, statement: sql.Composable, params: Mapping[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, none for a statement that returns none."""
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def qualified(table: str) -> sql.Identifier:
    """Quote a table named in the settings, ``"ratings"`` or ``"app.ratings"``."""
    return sql.Identifier(*table.split(".", 1))
