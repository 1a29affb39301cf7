"""A look at the database, whole: what was chosen, what was measured, what was not taken and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recjobs import db
from recjobs.config import HoldoutSettings
from recjobs.errors import DataError
from recjobs.init import describe, measure
from recjobs.init.choose import Interactions, candidates
from recjobs.init.describe import Described
from recjobs.init.look import Database, look
from recjobs.init.measure import Events, Repeats, Scale
from recjobs.init.sides import Side, items_of, users_of
from recjobs.source import TimeColumn
from recjobs.source.questions import ask

_MOST_EVENT_TYPES = 50


@dataclass(frozen=True, slots=True)
class Proposal:
    """Everything that the settings file says.

    Attributes:
        database: The database's name.
        n_tables: How many tables were looked at.
        chosen: The interactions.
        time: What their times mean.
        zone: The server's time zone, a guess for times without one.
        repeats: How often ids repeat.
        scale: The scale of the ratings, if there are any.
        events: Event types; none where there is no column of them.
        items: The table of items, if there is one.
        users: The table of users, if there is one.
        item_features: What the table of items says of them.
        user_features: What the table of users says of them.
        holdout: The fitting holdout.
        holdout_why: Why it fits.
        rejected: Why other tables were not taken, by name.
    """

    database: str
    n_tables: int
    chosen: Interactions
    time: TimeColumn
    zone: str
    repeats: Repeats
    scale: Scale | None
    events: Events
    items: Side | None
    users: Side | None
    item_features: Described
    user_features: Described
    holdout: HoldoutSettings
    holdout_why: str
    rejected: Mapping[str, str]


def make(connection: db.PgConnection, schema: str | None) -> Proposal:
    """Look at the database and choose.

    Raises:
        DataError: No table could hold interactions; names each and what it lacks.
        ConfigError: There is no such schema.
        psycopg2.Error: The server failed.
    """
    [(name, server_zone)] = ask(connection, db.query("init/session"))
    zone = _known_zone(str(server_zone))
    database = look(connection, schema)
    chosen, time, repeats, rejected = _choose(connection, database, name, zone)
    relation, scale, events = chosen.table.relation, None, Events()
    if chosen.rating:
        scale = measure.scale(connection, relation, chosen.rating)
    if chosen.event:
        events = measure.events(connection, relation, chosen.event)
    has_events = 0 < len(events.names) <= _MOST_EVENT_TYPES
    chosen = replace(
        chosen,
        rating=chosen.rating if scale else None,
        event=chosen.event if has_events else None,
    )
    holdout, why = measure.holdout(connection, chosen, time)
    items, users = items_of(database, chosen), users_of(database, chosen)
    taken = {side.table.name for side in (items, users) if side} | {chosen.table.name}
    return Proposal(
        database=str(name),
        n_tables=len(database.tables) + len(database.passed_over),
        chosen=chosen,
        time=time,
        zone=zone,
        repeats=repeats,
        scale=scale,
        events=events if has_events else Events(),
        items=items,
        users=users,
        item_features=describe.items(connection, items) if items else Described(),
        user_features=describe.users(users) if users else Described(),
        holdout=holdout,
        holdout_why=why,
        rejected={table: why for table, why in rejected.items() if table not in taken},
    )


def _choose(
    connection: db.PgConnection, database: Database, name: str, zone: str
) -> tuple[Interactions, TimeColumn, Repeats, dict[str, str]]:
    found, rejected = candidates(database)
    chosen: tuple[Interactions, TimeColumn, Repeats] | None = None
    for candidate in found:
        table = candidate.table.name
        repeats = measure.repeats(connection, candidate)
        if repeats.reject:
            rejected[table] = repeats.reject
            continue
        time = measure.time_of(connection, candidate, zone)
        if isinstance(time, str):
            rejected[table] = time
        elif chosen is None:
            chosen = candidate, time, repeats
        else:
            score = f"{candidate.score:.1f} against {chosen[0].score:.1f}"
            rejected[table] = f"could hold interactions too, but fits less well ({score})"
    if chosen is None:
        raise DataError(_nothing(name, rejected))
    return *chosen, dict(sorted(rejected.items()))


def _nothing(name: str, rejected: Mapping[str, str]) -> str:
    if not rejected:
        return (
            f"database {name} has no tables here that this role can see. Expected one of "
            "interactions: a column of users, one of items, one of times. See --schema and the DSN."
        )
    lines = "\n".join(f"  {table}: {why}" for table, why in sorted(rejected.items()))
    return (
        f"no table of database {name} looks like interactions: expected a column of users, one of "
        f"items and one of times, and ids that repeat. Looked at:\n{lines}\n"
        "If it takes a join of several tables, write it as an SQL file and name that in "
        "source.sql_file (docs/settings.md)."
    )


def _known_zone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return "UTC"
    return name
