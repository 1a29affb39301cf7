"""Checks of one server: reachable, of a known version, not pooled, and its clock is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg2.extensions import parse_dsn

from recjobs import db
from recjobs.doctor.finding import Finding, fail, ok, warn
from recjobs.source.questions import ask

_OLDEST: Final = 15
_NEWEST: Final = 18
_CLOCK_SKEW: Final = timedelta(seconds=5)
#: A statement timeout below it may cancel the reading of a large table.
_SHORT_TIMEOUT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Server:
    """An open connection to the source's or the target's server.

    Attributes:
        side: ``"source"`` or ``"target"``.
        dsn: Where it is.
        connection: Open, outside a transaction.
    """

    side: str
    dsn: str
    connection: db.PgConnection


def check(server: Server) -> Iterator[Finding]:
    """Check what the server says of itself."""
    before = _now()
    [row] = ask(server.connection, db.query("doctor/server"))
    after = _now()
    version, role, is_superuser, is_replica, clock, timeout = row
    yield _version(server, version)
    yield _role(server, role, is_superuser)
    yield _replica(server, is_replica)
    yield _clock(server, before, clock, after)
    yield _timeout(server, role, timeout)


def check_replica(server: Server) -> Iterator[Finding]:
    """Check whether the server is a replica, which is wrong for the target alone."""
    [row] = ask(server.connection, db.query("doctor/server"))
    yield _replica(server, row[3])


def check_pooling(server: Server) -> Iterator[Finding]:
    """Check whether a pooler hands one process to several clients in turn."""
    name = f"{server.side}.pooling"
    mend = f"let {server.side}.dsn_env name the server itself, past the pooler (port 5432, mostly)"
    question = db.query("doctor/backend")
    # While our first connection stays open but idle, a server gives a second one another process.
    # A pooler in transaction mode gives it the very one that is idle.
    [(first,)] = ask(server.connection, question)
    with db.connect(server.dsn) as other:
        [(second,)] = ask(other, question)
    if first == second:
        yield warn(name, "the DSN leads to a pooler in transaction mode", mend)
    elif first != server.connection.info.backend_pid:
        yield warn(name, "the DSN leads to a pooler (in session mode, it seems)", mend)
    else:
        yield ok(name, "a direct connection")


def _version(server: Server, number: int) -> Finding:
    name, major = f"{server.side}.version", number // 10000
    if major < _OLDEST:
        mend = f"upgrade the server to PostgreSQL {_OLDEST} or later"
        return fail(name, f"PostgreSQL {major}, recjobs needs {_OLDEST} to {_NEWEST}", mend)
    if major > _NEWEST:
        message = f"PostgreSQL {major}, recjobs is tested on {_OLDEST} to {_NEWEST}"
        return warn(name, message, "see whether there is a newer recjobs")
    return ok(name, f"PostgreSQL {major}")


def _role(server: Server, role: str, is_superuser: bool) -> Finding:
    name = f"{server.side}.role"
    if not is_superuser:
        return ok(name, f"connects as {role}, which is no superuser")
    rights = "may read the source" if server.side == "source" else "owns the job's schema"
    mend = f"create an ordinary role that {rights}, and let the DSN name it"
    return warn(name, f"connects as {role}, a superuser: a mistake could reach everything", mend)


def _replica(server: Server, is_replica: bool) -> Finding:
    name = f"{server.side}.replica"
    if not is_replica:
        return ok(name, "the primary")
    if server.side == "target":
        mend = "let target.dsn_env name the primary"
        return fail(name, "a read-only replica, where nothing can be published", mend)
    return ok(name, "a read replica: where it cancels the reading, that is tried again")


def _clock(server: Server, before: datetime, clock: datetime, after: datetime) -> Finding:
    name = f"{server.side}.clock"
    skew = max(before - clock, clock - after, timedelta(0))
    if skew <= _CLOCK_SKEW:
        return ok(name, "agrees with this host's")
    message = f"this host's clock and the server's are {skew.total_seconds():.0f} s apart"
    return warn(name, message, "let both follow NTP: leases and as_of rely on the time")


def _timeout(server: Server, role: str, milliseconds: int) -> Finding:
    name = f"{server.side}.statement_timeout"
    timeout = timedelta(milliseconds=milliseconds)
    if not timeout or timeout >= _SHORT_TIMEOUT:
        return ok(name, f"{timeout}" if timeout else "none")
    message = f"statements of {role} are cancelled after {timeout.total_seconds():g} s"
    return warn(name, message, f"alter role \"{role}\" set statement_timeout = '30min';")


def _now() -> datetime:
    return datetime.now(UTC)


def same_server(one: str, other: str) -> bool:
    """Tell whether two DSNs lead to the same database as the same role."""
    return parse_dsn(one) == parse_dsn(other)
