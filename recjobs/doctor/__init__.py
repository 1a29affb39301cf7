"""Check a job's set-up, and say how to mend each thing that is wrong.

Nothing is left changed anywhere, no question keeps a server busy for long, and one broken check
does not stop the others.

    job       the settings by themselves: hyperparameters, baselines, features, the schedule
    servers   one server: reachable, version, pooler, role, replica, clock, timeout
    source    tables, columns, types, the time's unit and index, future rows, event types
    target    rights, migrations, id types; and the artifacts' folder
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial

from recjobs import db
from recjobs.config import Connection, Settings
from recjobs.doctor import job, servers, source, target
from recjobs.doctor.finding import Finding, fail, guarded, ok
from recjobs.doctor.servers import Server
from recjobs.errors import RecJobsError

__all__ = ["Finding", "examine"]


def examine(settings: Settings) -> list[Finding]:
    """Return what every check found, in the order in which a person would mend it."""
    findings: list[Finding] = []

    def run(name: str, check: Callable[[], Iterable[Finding]]) -> None:
        findings.extend(guarded(name, check))

    run("settings", partial(job.check, settings))
    run("schedule.cron", partial(job.check_schedule, settings))
    with ExitStack() as stack:
        opened: dict[str, Server] = {}
        for side, where in (("source", settings.source), ("target", settings.target)):
            findings.append(_open(side, where, opened, stack))
        for server in opened.values():
            if _again(server, opened):
                run(f"{server.side}.replica", partial(servers.check_replica, server))
            else:
                run(f"{server.side}.server", partial(servers.check, server))
                run(f"{server.side}.pooling", partial(servers.check_pooling, server))
        if "source" in opened:
            run("source.tables", partial(source.check, opened["source"], settings))
        if "target" in opened:
            run("target.rights", partial(target.check_rights, opened["target"], settings))
            run("target.migrations", partial(target.check_migrations, opened["target"], settings))
    run("artifacts", partial(target.check_artifacts, settings))
    return findings


def _open(side: str, where: Connection, opened: dict[str, Server], stack: ExitStack) -> Finding:
    name = f"{side}.connection"
    try:
        dsn = where.resolve()
        connection = stack.enter_context(db.connect(dsn, autocommit=True))
    except RecJobsError as error:
        return fail(name, str(error).removesuffix(db.SEE_DOCTOR), _HOW_TO_CONNECT)
    opened[side] = Server(side, dsn, connection)
    if _again(opened[side], opened):
        return ok(name, "the source's database, as the same role")
    info = connection.info
    return ok(name, f"database {info.dbname} at {info.host or 'a local socket'}, as {info.user}")


def _again(server: Server, opened: dict[str, Server]) -> bool:
    """Tell whether the source's checks of the server serve for this one: all but the replica's."""
    first = opened.get("source", server)
    return first is not server and servers.same_server(first.dsn, server.dsn)


_HOW_TO_CONNECT = (
    "see that the server is up, that its pg_hba.conf lets this host in, and that the variable "
    "which dsn_env names holds postgresql://user:password@host:5432/database"
)
