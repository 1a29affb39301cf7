"""How `db.connect` connects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from recjobs import db
from recjobs.errors import ConfigError, DatabaseError
from servers import Server, system, system_binaries, uri


@pytest.mark.parametrize(("given", "expected"), [({}, "10"), ({"connect_timeout": "7"}, "7")])
def test_the_dsn_may_say_how_long_a_server_is_waited_for(
    database: str, given: dict[str, str], expected: str
) -> None:
    parts = parse_dsn(database)
    del parts["connect_timeout"]  # the tests' own
    with db.connect(uri({**parts, **given})) as connection:
        assert connection.info.dsn_parameters["connect_timeout"] == expected


@pytest.mark.parametrize("password", ["s3cret/xyz", "99999999/xyz", "s3,cret/xyz"])
def test_a_dsn_that_can_not_be_read_shows_nothing_of_itself(password: str) -> None:
    dsn = f"postgresql://u:{password}@h/db"
    with pytest.raises(ConfigError, match="the DSN can't be read") as raised, db.connect(dsn):
        pass
    assert password.partition("/")[0] not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.fixture(scope="module")
def strict(postgres15: Server) -> Iterator[dict[str, str]]:
    """A database of a server that asks its owner for the password, and a role may not log in."""
    binaries = system_binaries()
    assert binaries is not None
    with system(binaries) as server:
        dsn = parse_dsn(server.create_database())
        for statement in (
            "create role mute nologin",
            "create database shut",
            "revoke connect on database shut from public",
        ):
            server.run(sql.SQL(statement))
        rules = "local all postgres,mute,nobody trust\nlocal all {} scram-sha-256\n"
        rules = rules.format(dsn["user"]) + "local all banned reject\n"
        (Path(dsn["host"]) / "data" / "pg_hba.conf").write_text(rules)
        server.run(sql.SQL("select pg_reload_conf()"))
        yield dsn


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": "s3cret"}, "password authentication failed for user"),
        ({"password": "", "passfile": "/dev/null"}, "no password supplied"),
        ({"user": "nobody"}, 'role "nobody" does not exist'),
        ({"user": "mute"}, 'role "mute" is not permitted to log in'),
        ({"user": "banned"}, 'pg_hba.conf rejects connection for host .*, user "banned"'),
        ({"user": "stranger"}, 'no pg_hba.conf entry for host .*, user "stranger"'),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"dbname": "shut"}, 'permission denied for database "shut"'),
        # The first of the hosts is not there, as localhost is mostly not by IPv6.
        ({"host": "/nowhere,{host}", "password": "s3cret"}, "password authentication failed"),
    ],
)
def test_a_dsn_that_the_server_refuses_is_no_outage(
    strict: dict[str, str], changes: dict[str, str], says: str
) -> None:
    changes = {key: value.format(**strict) for key, value in changes.items()}
    dsn = " ".join(f"{key}='{value}'" for key, value in {**strict, **changes}.items())
    with pytest.raises(ConfigError, match=says) as raised, db.connect(dsn):
        pass
    assert "dsn_env" in str(raised.value)
    assert "See: recjobs doctor" in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "dsn", ["postgresql://u:s3cret@nowhere.invalid/db", "postgresql://u:s3cret@127.0.0.1:1/db"]
)
def test_a_server_that_is_not_there_may_be_there_next_time(dsn: str) -> None:
    says = r"can't connect.* See: recjobs doctor"
    with pytest.raises(DatabaseError, match=says) as raised, db.connect(dsn):
        pass
    assert "s3cret" not in str(raised.value)
