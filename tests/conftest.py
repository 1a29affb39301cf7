"""Fixtures that need a real Postgres: a server per session, a fresh database per test.

`database` is what most tests want: the DSN of an empty database whose owner is an ordinary role
that may create roles. `database_without_createrole` is the same for a role that may not.
`each_database` runs the test on every server there is: the embedded 18 (or RECJOBS_DSN's), and
the system's own older one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from servers import PLAIN, Server, embedded, system, system_binaries

# A slow machine is no failure: what a test may take is pytest-timeout's business. Nor is chance:
# the same examples are drawn each time.
settings.register_profile(
    "recjobs", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("recjobs")


def pytest_configure() -> None:
    """End as after Ctrl-C where a time limit ends the tests: their servers are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("terminated", 143))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that RECJOBS_DSN names, else an embedded one."""
    if dsn := os.environ.get("RECJOBS_DSN"):
        yield Server(dsn)
    else:
        with embedded() as server:
            yield server


@pytest.fixture(scope="session")
def postgres15() -> Iterator[Server]:
    """A second server, of the oldest system binaries from 15 on; skips where there are none."""
    binaries = system_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL 15 or later is installed on this system")
    with system(binaries) as server:
        yield server


@pytest.fixture(params=["postgres", "postgres15"])
def each_server(request: pytest.FixtureRequest) -> Server:
    """Every server in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """The DSN of an empty database, for its owner: no superuser, may create roles."""
    with postgres.database() as dsn:
        yield dsn


@pytest.fixture
def database_without_createrole(postgres: Server) -> Iterator[str]:
    """The DSN of an empty database, for its owner: no superuser, may not create roles."""
    with postgres.database(PLAIN) as dsn:
        yield dsn


@pytest.fixture
def each_database(each_server: Server) -> Iterator[str]:
    """`database`, on every server in turn."""
    with each_server.database() as dsn:
        yield dsn
