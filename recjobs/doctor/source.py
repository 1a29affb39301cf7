"""Checks of the source: its tables and columns, its times, its event types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from psycopg2 import sql

from recjobs import db
from recjobs.config import ItemSource, Settings, UserSource, seen_days
from recjobs.doctor.finding import Finding, fail, guarded, ok, warn
from recjobs.doctor.servers import Server
from recjobs.source import Relation, TimeColumn, plan, statement
from recjobs.source.questions import ask, epoch
from recjobs.source.tables import Tables

#: Below it reading a whole table is as quick as reading it by an index.
_SMALL_BYTES: Final = 8 << 20
_JUST_NOW: Final = timedelta(minutes=5)


def check(server: Server, settings: Settings) -> Iterator[Finding]:
    """Check the source's relations, and if the interactions can be read, what is in them."""
    connection, source = server.connection, settings.source
    alone = source.model_copy(update={"items": ItemSource(), "users": UserSource()})
    now = datetime.now(UTC)

    def relation(name: str, key: str, table: ItemSource | UserSource | None) -> list[Finding]:
        def look() -> Iterator[Finding]:
            with connection:
                plan(connection, alone.model_copy(update={key: table} if table else {}), now)
            shown = table or source
            yield ok(name, f"{shown.table or shown.sql_file}: every column fits and can be read")

        return guarded(name, look)

    interactions = relation("source.interactions", "", None)
    yield from interactions
    if interactions[0].status != "ok":
        return
    for key, table in (("items", source.items), ("users", source.users)):
        if table.table or table.sql_file:
            yield from relation(f"source.{key}", key, table)
    checks: dict[str, Callable[[Server, Settings, Relation, TimeColumn], Iterator[Finding]]] = {
        "feedback.events": _events,
        "feedback.ratings": _ratings,
        "source.time_index": _time_index,
        "source.time_unit": _time_unit,
        "source.future": _future,
    }
    with connection:
        tables = Tables.look(connection, alone)
    found = tables.interactions
    time = tables.time(found, "time", source.time)
    for name, each in checks.items():
        findings = guarded(name, partial(each, server, settings, found, time))
        yield from findings
        if name == "source.time_unit" and findings[0].status == "fail":
            return  # whatever is said of such times is wrong


def _time_unit(
    server: Server, settings: Settings, relation: Relation, time: TimeColumn
) -> Iterator[Finding]:
    name = "source.time_unit"
    if time.kind not in ("s", "ms"):
        yield ok(name, f"not needed: {time.column.name} is {time.column.type}")
        return
    seen = epoch(server.connection, relation, time.column)
    if seen is None:
        yield ok(name, "no times to judge by")
        return
    fits, greatest = seen
    if fits == time.kind:
        yield ok(name, f"{greatest} is a plausible time in {_UNITS[fits]}")
    elif fits:
        message = f'time_unit is "{time.kind}", but {greatest} looks like {_UNITS[fits]}'
        yield fail(name, message, f'set source.time_unit = "{fits}"')
    else:
        mend = "divide it in an SQL file (source.sql_file): micros / 1000 as ts"
        yield fail(name, f"{greatest} looks like microseconds or nanoseconds", mend)


_UNITS: Final = {"s": "seconds", "ms": "milliseconds"}


def _time_index(
    server: Server, settings: Settings, relation: Relation, time: TimeColumn
) -> Iterator[Finding]:
    name, table = "source.time_index", settings.source.table
    if not table:
        yield ok(name, f"{relation.label}: whether an index serves is up to the file")
        return
    quoted = db.qualified(table).as_string(server.connection)
    params = {"relation": quoted, "column": time.column.name}
    [(is_table, is_partitioned, size, has_index)] = ask(
        server.connection, db.query("doctor/time_index"), params
    )
    if not is_table:
        yield ok(name, f"{table} is a view: whether an index serves is up to its tables")
    elif has_index:
        yield ok(name, f"an index of {table} begins with {time.column.name}")
    elif size < _SMALL_BYTES:
        yield ok(name, f"{table} has none on {time.column.name}, and is small enough without")
    else:
        message = f"{table} ({size >> 20} MB) has no index on {time.column.name}: a backfill of an "
        message += "old day reads all of it"
        column = sql.Identifier(time.column.name).as_string(server.connection)
        how = "" if is_partitioned else " concurrently"
        yield warn(name, message, f"create index{how} on {quoted} ({column});")


def _future(
    server: Server, settings: Settings, relation: Relation, time: TimeColumn
) -> Iterator[Finding]:
    name = "source.future"
    [(now,)] = ask(server.connection, sql.SQL("select clock_timestamp()"))
    question = statement(
        "doctor/future",
        time_value=time.column.sql,
        relation=relation.sql,
        since=time.since(now + _JUST_NOW),
    )
    [(count, latest)] = ask(server.connection, question)
    if not count:
        yield ok(name, "no row lies in the future")
        return
    many = f"{count} rows" if count < 1000 else "1000 rows or more"
    message = f"{many} lie in the future, as late as {latest}: they wait until their time has come"
    mend = "mend those rows"
    if time.kind in ("s", "ms"):
        mend = "look at source.time_unit, or mend those rows"
    elif time.kind == "timestamp":
        mend = f"see whether source.source_timezone is right ({time.zone}), or mend those rows"
    yield warn(name, message, mend)


def _events(
    server: Server, settings: Settings, relation: Relation, time: TimeColumn
) -> Iterator[Finding]:
    name, feedback = "feedback.events", settings.feedback
    wanted = {"event_weights": list(feedback.event_weights), "exclude_seen": []}
    rule = feedback.exclude_seen
    if rule not in ("all", "none") and seen_days(rule) is None:
        wanted["exclude_seen"] = [event.strip() for event in rule.split(",")]
    if not any(wanted.values()):
        yield ok(name, "the settings name no event types")
        return
    if not settings.source.event:
        mend = "set source.event to the column of event types"
        yield fail(name, "the settings name event types, but source.event is not set", mend)
        return
    column = relation.column("event", settings.source.event)
    question = statement("doctor/events", event_value=column.sql, relation=relation.sql)
    known = [str(row[0]) for row in ask(server.connection, question)]
    bad = []
    for key, events in wanted.items():
        missing = [event for event in events if event not in known]
        if missing:
            message = f"feedback.{key} names {', '.join(missing)}; {relation.label} has "
            message += ", ".join(known[:20]) or "no event types"
            say = fail if missing == events else warn
            bad.append(say(name, message, f"name event types of the data in feedback.{key}"))
    silent = [event for event in known if event not in wanted["event_weights"]]
    if wanted["event_weights"] and silent and not bad:
        message = f"{relation.label} has {', '.join(silent[:20])} too, without a weight in "
        message += "feedback.event_weights: no positives, only seen"
        bad = [warn(name, message, "name those that say that something is liked, leave the rest")]
    yield from bad or [ok(name, f"every event type of the settings is in {relation.label}")]


def _ratings(
    server: Server, settings: Settings, relation: Relation, time: TimeColumn
) -> Iterator[Finding]:
    name, feedback = "feedback.ratings", settings.feedback
    if not settings.source.rating:
        if feedback.kind == "explicit":
            mend = 'set source.rating to the column of ratings, or feedback.kind = "implicit"'
            yield fail(name, 'feedback.kind is "explicit", but source.rating is not set', mend)
        else:
            yield ok(name, "not needed")
        return
    if feedback.event_weights:
        yield ok(name, "event types say what is a positive")
        return
    column, least = relation.column("rating", settings.source.rating), feedback.positive_at
    question = statement("doctor/ratings", rating_value=column.float8, relation=relation.sql)
    [(has_positive, greatest, has_rows)] = ask(server.connection, question, {"positive_at": least})
    if has_positive:
        yield ok(name, f"there are positives: rated {least:g} or more, or not rated")
    elif not has_rows:
        yield ok(name, "no ratings to judge by")
    elif greatest is None:
        mend = "see whether source.rating is the right column"
        yield fail(name, "no rating is a finite number: a night would set all rows aside", mend)
    else:
        message = f"feedback.positive_at is {least:g}, but no rating is above {greatest:g}: "
        message += "nothing would be a positive"
        yield fail(name, message, f"set feedback.positive_at to {greatest:g} or less")
