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
#: What libpq says of a server that answers and lets nobody in by this DSN. It gives no SQLSTATE,
#: and a server may speak another language: then it counts as one that can't be reached.
_REFUSED: Final = re.compile(
    r"^.*(?:(?:password|peer|ident|SASL|certificate) authentication failed|no password supplied"
    r"|pg_hba\.conf|(?:role|database) \".*\" does not exist|no such (?:user|database)"
    r"|is not permitted to log in|permission denied for database).*$",
    re.IGNORECASE | re.MULTILINE,
)
#: How the message ends where no connection could be opened.
SEE_DOCTOR: Final = ". See: recjobs doctor"
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
        ConfigError: The DSN is malformed, or the server refuses its role, its password or its
            database; a right or a relation is missing.
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
        raise _unconnected(error) from None
    try:
        connection.autocommit = autocommit
        yield connection
        if not autocommit:
            connection.commit()
    except psycopg2.Error as error:
        raise translated(error) from error
    finally:
        connection.close()


def _unconnected(error: psycopg2.OperationalError) -> ConfigError | DatabaseError:
    """Return the error of our tree that says why no connection could be opened."""
    refused = _REFUSED.search(str(error))  # of several hosts the last: no other is tried then
    line = refused[0] if refused else first_line(error)
    # An unencoded @ in a password makes its rest a part of the host name.
    message = "can't connect to the database: " + re.sub(r'"[^"@]*@', '"…@', line)
    if refused:
        return ConfigError(
            f"{message}. Look at the role, the password and the database of the DSN (in the "
            f"variable that dsn_env names, else RECJOBS_DSN), and at pg_hba.conf{SEE_DOCTOR}"
        )
    return DatabaseError(message + SEE_DOCTOR)


def translated(error: psycopg2.Error) -> ConfigError | DatabaseError:
    """Return the error of our tree that says what to do about one of the driver's."""
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return ConfigError(f"a right is missing: {first_line(error)}. See: recjobs doctor")
    if isinstance(error, _MISSING):
        return ConfigError(
            f"{first_line(error)}. If it is one of ours, run: recjobs migrate; "
            "if it is one of the source's, see: recjobs doctor"
        )
    if isinstance(error, psycopg2.errors.DependentObjectsStillExist):
        return ConfigError(
            f"{first_line(error)}: {error.diag.message_detail}. Drop those first, which are none "
            "of ours, and make them again afterwards"
        )
    return DatabaseError(first_line(error))


def first_line(error: BaseException) -> str:
    """Return the first line of a driver's error: the rest quotes the query."""
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
