"""What happened and what to do about it: the part of the page that is read at 3 a.m."""

from __future__ import annotations

import inspect
import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from recjobs.columns import POPULAR
from recjobs.config import Settings, parse_value, toml_value
from recjobs.errors import ConfigError, DatabaseError, DataError, GateError, RecJobsError, failure
from recjobs.report.facts import ReportFacts

#: What to look at, by class of the error tree; the class's docstring says what it means.
_LOOK: Final[dict[type[RecJobsError], str]] = {
    ConfigError: "Mend what the message names (recjobs doctor finds most of it), then run the "
    "night again: it resumes at this stage.",
    DataError: "Look at the checks and the rows set aside below, mend the source, then run the "
    "night with --fresh: a repaired source enters only so.",
    DatabaseError: "Run the night again: it resumes at this stage. Where it fails again, "
    "recjobs doctor checks the connection and the rights.",
    GateError: "Compare the model with the baselines below. Where you judge otherwise than the "
    "gate, promote the run by name.",
    RecJobsError: "Where the machine ran out of room or memory, make some and run the night again: "
    "it resumes at this stage. Else report it with the log of the stage.",
}
#: Where a stage's process left no error.
_KILLED: Final = "Its process ended without a word: killed, out of memory, or timed out."
_LOG: Final = (
    "Look at the log of the stage and at the machine's memory, then run the night again: it "
    "resumes at this stage."
)
#: Where popularity lists were stored in the place of a held model's.
_NOT_FITTED: Final = (
    "Compare the model with the baselines below. This run has no lists of the model: where you "
    "judge otherwise than the gate, make a dry run of the night with --fresh and promote that one."
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command to copy, and what it does."""

    line: str
    does: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The banner.

    Attributes:
        mood: ``good``, ``warn``, ``bad`` or ``plain``; the page's colour and mark.
        title: What happened.
        why: The reason, as the stage or the gate gave it.
        readers: What readers of the tables see now.
        advice: What it means and what to do; empty where there is nothing to do.
        commands: The next commands, the likeliest first.
    """

    mood: Literal["good", "warn", "bad", "plain"]
    title: str
    why: str
    readers: str
    advice: list[str]
    commands: list[Command]


def headline(facts: ReportFacts, settings: Settings) -> Headline:
    """Say what happened, why, what readers see, and what to do."""
    again = Command(_run(facts, settings), "resume this night")
    fresh = Command(f"{again.line} --fresh", "extract again, as a new run")
    promote = Command(f"recjobs promote {facts.run_id} --why '…'", "publish it all the same")
    live = facts.live_run_id == facts.run_id
    if facts.status == "failed":
        kind, message = failure(facts.error)
        command = fresh if issubclass(kind, DataError) else again
        advice = [_meaning(kind), _advice(kind)]
        title = f"Failed in stage {facts.stage or 'unknown'}"
        return Headline("bad", title, message, _readers(facts), advice, [command])
    if facts.published_source == POPULAR:
        title = "Popularity lists: the gate held the model"
        advice, command = [_advice(GateError)], promote
        if not facts.dry_run:
            dry = f"{fresh.line} --dry-run"
            advice, command = [_NOT_FITTED], Command(dry, "make a run that can be promoted")
        return Headline("warn", title, facts.rule or "", _readers(facts), advice, [command])
    if facts.status == "held":
        advice = [_meaning(GateError), _advice(GateError)]
        title = "Held by the gate"
        return Headline("bad", title, facts.rule or "", _readers(facts), advice, [promote])
    if facts.dry_run or facts.status == "dry_run":
        title = "Dry run: nothing was published"
        return Headline("plain", title, facts.rule or "", _readers(facts), [], [promote])
    if facts.killed:
        title = f"Stopped in stage {facts.stage}"
        return Headline("bad", title, _KILLED, _readers(facts), [_LOG], [again])
    if facts.status == "running":
        title = f"Still running: stage {facts.stage or 'unknown'}"
        return Headline("plain", title, "", _readers(facts), [], [again])
    if not live:
        why = facts.rule or ""
        return Headline(
            "plain", "Stored, not live", why, _readers(facts), [_not_live(facts)], [promote]
        )
    mood: Literal["good", "warn"] = "warn" if facts.decision == "undecided" else "good"
    rollback = Command("recjobs rollback --why '…'", "put the lists before these back")
    return Headline(mood, "Live", facts.rule or "", _readers(facts), [], [rollback])


def as_of_argument(as_of: datetime, settings: Settings) -> str:
    """Return what ``--as-of`` takes for this instant: a bare date where it is midnight."""
    local = as_of.astimezone(ZoneInfo(settings.job.timezone))
    # The second of two midnights, where the clocks go back, takes its offset to be told.
    midnight = (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
    midnight &= not local.fold
    return f"{local:%Y-%m-%d}" if midnight else local.isoformat()


def reproduction(facts: ReportFacts, settings: Settings, user: str | None) -> list[Command]:
    """Return the commands that run, show, promote and take back this run.

    Args:
        facts: The run.
        settings: The job's settings.
        user: A user to show, None where no list was made.
    """
    run = _run(facts, settings)
    commands = [
        Command(run, "the same night: resumed, or returned where it is finished"),
        Command(f"{run} --fresh", "the same night, extracted again as a new run"),
    ]
    if user:
        end = "-- " * user.startswith("-")  # of the options: an id may begin like one
        commands.append(Command(f"recjobs show {end}{shlex.quote(user)}", "one user's list"))
    if facts.published_source != POPULAR or facts.dry_run:
        promote = f"recjobs promote {facts.run_id} --why '…'"
        commands.append(Command(promote, "make this run live"))
    return [
        *commands,
        Command("recjobs rollback --why '…'", "make the run before the live one live again"),
        Command(
            f"recjobs stage report --run {facts.run_id}",
            "make this page again, with the settings that the run began with",
        ),
    ]


def _run(facts: ReportFacts, settings: Settings) -> str:
    """Return the command that gives this very run: with its overrides, and dry where it was."""
    words = ["recjobs run --as-of", as_of_argument(facts.as_of, settings)]
    for key, value in sorted(facts.overrides.items()):
        words += ["--set", shlex.quote(f"{key}={_set_value(value)}")]
    return " ".join(words + ["--dry-run"] * facts.dry_run)


def _meaning(kind: type[RecJobsError]) -> str:
    if kind is RecJobsError:
        return (
            f"An error that recjobs does not know (exit code {kind.exit_code}): the machine's "
            "(a full disk, no memory), or a defect."
        )
    first = (inspect.getdoc(kind) or "").partition("\n\n")[0]
    return f"{kind.__name__} (exit code {kind.exit_code}). {' '.join(first.split())}"


def _advice(kind: type[RecJobsError]) -> str:
    return next(text for known, text in _LOOK.items() if issubclass(kind, known))


def _readers(facts: ReportFacts) -> str:
    if facts.live_run_id is None:
        return "Nothing is live: readers find no lists yet."
    if facts.live_run_id == facts.run_id:
        whose = "popularity lists" if facts.published_source == POPULAR else "lists"
        return f"Readers see this run's {whose}."
    return f"Readers see the lists of run {facts.live_run_id}, as before."


def _not_live(facts: ReportFacts) -> str:
    if facts.overrides:
        keys = ", ".join(sorted(facts.overrides))
        return f"A run with settings given by hand ({keys}) goes live only when it is promoted."
    return (
        "Its lists are stored and can be queried in recommendations_history. A run goes live by "
        "itself only where its as_of is later than that of every run that has been live, and only "
        "while no rollback is pinned."
    )


def _set_value(value: Any) -> str:
    """Return what ``--set`` reads as this value: a text as it is, where it spells nothing else."""
    return value if isinstance(value, str) and parse_value(value) == value else toml_value(value)
