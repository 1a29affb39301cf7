"""A proposal as a commented TOML file."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from recjobs.init.describe import Described
from recjobs.init.proposal import Proposal
from recjobs.init.sides import Side
from recjobs.init.words import event_weight
from recjobs.source.catalog import SOURCE_ID_TYPES

_WIDTH = 96
#: Comments stand behind the values, from this column on.
_COLUMN = 32
#: Above it people come back to the same items, and not only by several events.
_REPEATED_SHARE = 0.3
#: Where to look at all rows took too long.
_OF_SOME = "CHECK: of the first rows alone"


def toml(proposal: Proposal, dsn_env: str) -> str:
    """Return the settings file."""
    sections = [
        _head(proposal),
        _job(),
        _source(proposal, dsn_env),
        _items(proposal),
        _users(proposal),
        ["[target]", _line("dsn_env", dsn_env, "where the lists go: another server, if you like")],
        _feedback(proposal),
        _holdout(proposal),
        _validate(proposal),
        _model(),
        _schedule(),
    ]
    return "\n".join("\n".join(section) + "\n" for section in map(list, sections) if section)


def _head(proposal: Proposal) -> Iterator[str]:
    chosen = proposal.chosen
    yield from _comment(
        f"Proposed by `recjobs init` from a look at the {proposal.n_tables} tables of database "
        f"{proposal.database}. Read it through; then: recjobs doctor, recjobs migrate, recjobs run."
    )
    has = f"users in {chosen.user.name}, items in {chosen.item.name}, times in {chosen.time.name}"
    yield from _comment(f"The interactions: {chosen.table.name}, with {has}.")
    if chosen.guessed:
        yield from _comment(
            f"CHECK which is which: that {chosen.user.name} holds users and {chosen.item.name} "
            "items is a guess."
        )
    if proposal.rejected:
        yield "# Not taken for it:"
        for table, why in proposal.rejected.items():
            yield from _comment(f"{table}: {why}", indent="  ")


def _job() -> Iterator[str]:
    yield "[job]"
    yield _line("schema", "recs", "the schema of the job's own tables; nobody else's")
    yield _line("timezone", "UTC", "a bare date as as_of means 00:00 here")


def _source(proposal: Proposal, dsn_env: str) -> Iterator[str]:
    chosen, time, repeats = proposal.chosen, proposal.time, proposal.repeats
    yield "[source]"
    yield _line("dsn_env", dsn_env, "the environment variable that holds the DSN")
    yield _line("table", chosen.table.name)
    for key, column, count in (
        ("user_id", chosen.user, repeats.users),
        ("item_id", chosen.item, repeats.items),
    ):
        becomes = SOURCE_ID_TYPES[column.type]
        shown = column.type if becomes == column.type else f"{column.type}, published as {becomes}"
        yield _line(key, column.name, f"{shown}; {count:,} in the first {repeats.rows:,} rows")
    yield _line("time", chosen.time.name, chosen.time.type)
    if time.kind in ("s", "ms"):
        yield _line("time_unit", time.kind, "what it counts since 1970, by the size of its values")
    elif time.kind in ("timestamp", "date"):
        why = f"CHECK: {time.kind} says no time zone; this is the server's own"
        yield _line("source_timezone", proposal.zone, why)
    if time.kind not in ("timestamp", "date") and _needs_zone(proposal):
        yield _line("source_timezone", proposal.zone, "CHECK: for times without a zone below")
    if chosen.rating and proposal.scale:
        scale = proposal.scale
        yield _line("rating", chosen.rating.name, f"from {scale.least:g} to {scale.greatest:g}")
    if chosen.event:
        many = f"{len(proposal.events.names)} types"
        how = many if proposal.events.is_whole else f"{many}. {_OF_SOME}"
        yield _line("event", chosen.event.name, how)


def _items(proposal: Proposal) -> Iterator[str]:
    side = proposal.items
    if side is None:
        yield from _comment(
            "No table of items was found: lists then show ids without titles, and an item is "
            "available as long as somebody chose it. [source.items] names one."
        )
        return
    yield "[source.items]"
    yield _line("table", side.table.name, f"tied to the interactions {side.why}")
    yield _line("item_id", side.id.name)
    if side.title:
        yield _line("title", side.title.name, "shown in the report and beside the lists")
    yield from _created(side, "items without interactions count from then on")
    hidden = side.unavailable
    if side.available:
        yield _line("available", side.available.name, "what may be recommended")
    elif hidden:
        name = '"' + hidden.name.replace('"', '""') + '"'
        condition = f"not {name}" if hidden.type == "boolean" else f"{name} is null"
        yield _line("available_sql", condition, "what may be recommended")
    yield from _features(proposal.item_features)


def _users(proposal: Proposal) -> Iterator[str]:
    side = proposal.users
    if side is None:
        return
    if not (side.created or side.available or side.unavailable):
        yield from _comment(
            f"{side.table.name} holds the users, but says neither when they joined nor who is "
            "active, so it would add nothing: everyone with an interaction gets a list."
        )
        return
    yield "[source.users]"
    if side.unavailable and not side.available:
        yield from _comment(
            f"CHECK {side.unavailable.name}: to leave such users out, name an SQL file that does "
            "(sql_file) instead of the table."
        )
    yield _line("table", side.table.name, f"only its rows get a list; tied {side.why}")
    yield _line("user_id", side.id.name)
    yield from _created(side, "who has no interactions yet gets the fallback from then on")
    if side.available:
        yield _line("active", side.available.name, "who gets a list")
    yield from _features(proposal.user_features)


def _features(found: Described) -> Iterator[str]:
    if found.text or found.categories or found.numbers:
        yield "# What content and two_tower learn from:"
    if found.text:
        yield _names("text", found.text)
    if found.categories:
        yield _names("categories", found.categories)
        if found.separator != "|":
            yield _line("separator", found.separator, "between several categories in a text")
    if found.numbers:
        yield _names("numbers", found.numbers)


def _feedback(proposal: Proposal) -> Iterator[str]:
    yield "[feedback]"
    yield _line("kind", "implicit", 'rank what people choose; "explicit" predicts ratings')
    if proposal.scale and not proposal.events.names:
        scale = proposal.scale
        why = f"liked: the upper quarter of {scale.least:g} to {scale.greatest:g}"
        why += "" if scale.is_whole else f". {_OF_SOME}"
        yield _line("positive_at", float(scale.positive_at), why)
    if proposal.events.names:
        weights = {event: event_weight(event) for event in proposal.events.names}
        shown = {event: weight for event, weight in weights.items() if weight}
        silent = [event for event, weight in weights.items() if not weight]
        yield from _comment("CHECK: what each event type is worth is a guess by its name.")
        if silent:
            yield from _comment(f"Without a weight: seen, but no sign of liking: {_join(silent)}.")
        yield _table("event_weights", shown or dict.fromkeys(weights, 1))
    repeats = proposal.repeats
    share = 1 - repeats.pairs / repeats.rows
    if share > _REPEATED_SHARE:
        yield from _comment(
            f"{share:.0%} of the rows seen repeat an item of the same user. If people want the "
            'same again (groceries, music), set "none", or "30d" for what was chosen in 30 days.'
        )
    yield _line("exclude_seen", "all", "not recommended again")


def _holdout(proposal: Proposal) -> Iterator[str]:
    holdout = proposal.holdout
    yield "[holdout]"
    yield from _comment(f"{proposal.holdout_why[:1].upper()}{proposal.holdout_why[1:]}.")
    yield _line("kind", holdout.kind)
    if holdout.kind == "global_time":
        yield _line("days", holdout.days, "the last days before as_of judge the model")
    else:
        yield _line("last", holdout.last, "so many rows of each user judge the model")


def _validate(proposal: Proposal) -> Iterator[str]:
    scale = proposal.scale
    if scale is None:
        return
    yield "[validate]"
    how = "of all ratings" if scale.is_whole else _OF_SOME
    yield _line("rating_min", float(scale.least), f"the least {how}; others are set aside")
    yield _line("rating_max", float(scale.greatest), f"the greatest {how}")


def _model() -> Iterator[str]:
    yield "[model]"
    yield _line("name", "mf", "Keras matrix factorization; docs/models.md has the others")


def _schedule() -> Iterator[str]:
    yield "[schedule]"
    yield _line("cron", "30 2 * * *", "when Airflow runs it")
    yield _line("timezone", "UTC")


def _created(side: Side, what: str) -> Iterator[str]:
    if side.created:
        yield _line("created_at", side.created.name, what)


def _needs_zone(proposal: Proposal) -> bool:
    created = [side.created for side in (proposal.items, proposal.users) if side and side.created]
    return any(column.type == "timestamp without time zone" for column in created)


def _line(key: str, value: str | float, comment: str = "") -> str:
    # A JSON string, number or boolean is the same in TOML.
    text = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return f"{text:<{_COLUMN}}  # {comment}" if comment else text


def _names(key: str, names: tuple[str, ...]) -> str:
    """Return an array of names, one a line where they are many."""
    line = f"{key} = [{_join(names)}]"
    if len(line) <= _WIDTH:
        return line
    return "\n".join([f"{key} = [", *(f"  {_join([name])}," for name in names), "]"])


def _table(key: str, values: dict[str, float]) -> str:
    inner = ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {v:g}" for k, v in values.items())
    return f"{key} = {{ {inner} }}"


def _join(names: Sequence[str]) -> str:
    return ", ".join(json.dumps(name, ensure_ascii=False) for name in names)


def _comment(text: str, indent: str = "") -> list[str]:
    flat = " ".join(text.split())
    return textwrap.wrap(
        flat, _WIDTH, initial_indent=f"# {indent}", subsequent_indent=f"# {indent}",
        break_long_words=False,
    )  # fmt: skip
