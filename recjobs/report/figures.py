"""The small figures at the top of the page, and the run's identity further down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.report.facts import ReportFacts
from recjobs.report.lists import Scored
from recjobs.report.numbers import duration, fixed, number
from recjobs.report.quality import Quality


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its name, and a smaller line below it."""

    name: str
    value: str
    note: str = ""


def figures(
    facts: ReportFacts,
    settings: Settings,
    summaries: Mapping[str, Mapping[str, Any]],
    quality: Quality | None,
    lists: Scored | None,
    seconds: Mapping[str, float],
) -> list[Figure]:
    """Return the figures; one of a stage that did not finish is a dash.

    Args:
        facts: The run.
        settings: The job's settings.
        summaries: What each finished stage said of itself, by stage.
        quality: The evaluation, if there is one.
        lists: The lists, counted, if there are any.
        seconds: By stage.
    """
    return [
        _metric(settings.gate.metric, quality),
        _users(lists),
        _churn(facts, summaries.get("check", {})),
        _coverage(summaries.get("check", {}), lists),
        _rows(summaries.get("validate", {})),
        Figure("Night took", duration(sum(seconds.values())), f"{len(seconds)} stages"),
    ]


def identity(
    facts: ReportFacts, settings: Settings, extract: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return what identifies the run, as (name, value); what is unset is left out.

    Args:
        facts: What the database knows of the run.
        settings: Of the job.
        extract: The summary of that stage; empty where it did not finish.
    """
    overrides = ", ".join(f"{key} = {value!r}" for key, value in sorted(facts.overrides.items()))
    values = {
        "job": settings.job.name,
        "schema": settings.job.db_schema,
        "run": facts.run_id,
        "as of": instant(facts.as_of),
        "status": facts.status,
        "decision": facts.decision,
        "model": facts.model,
        "settings by hand": overrides,
        "settings hash": facts.settings_hash,
        "code version": facts.code_version,
        "seed": facts.seed,
        "training threads": facts.training_threads,
        "snapshot digest": facts.snapshot_digest,
        "snapshot parts": _parts(extract.get("parts")),
        "champion": _run(facts.champion_run_id),
        "lists compared with": _run(facts.reference_run_id),
        "supersedes": _run(facts.supersedes),
        "to start from": _run(facts.parent_run_id),
        "live now": _run(facts.live_run_id),
        "started": instant(facts.started_at),
        "host": facts.host,
    }
    return [(name, str(value)) for name, value in values.items() if value not in (None, "")]


def choices(found: Mapping[str, Any]) -> str:
    """Return in words what the validation part chose for a blend; empty for any other model.

    Args:
        found: `Model.choices`: weights and epochs by model, and a reranker where one is used.
    """
    if not found:
        return ""
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in found["weights"].items())
    epochs = ", ".join(f"{name} {n}" for name, n in found["epochs"].items() if n is not None)
    parts = {"weights": weights, "epochs": epochs}
    told = [f"{name}: {part}" for name, part in parts.items() if part]
    return "; ".join(told + ["reranked by a network"] * ("reranker" in found))


def instant(when: datetime) -> str:
    """Return an instant in UTC, to the second where it has any."""
    utc = when.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S} UTC" if utc.second else f"{utc:%Y-%m-%d %H:%M} UTC"


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.3g}%"


def _metric(metric: str, quality: Quality | None) -> Figure:
    if quality is None or quality.ours is None:
        return Figure(metric, "–")
    floor = f"{POPULAR} {fixed(quality.floor)}" if quality.floor is not None else ""
    return Figure(metric, fixed(quality.ours), floor)


def _users(lists: Scored | None) -> Figure:
    if lists is None:
        return Figure("Users with a list", "–")
    fallback = lists.users_by_source.get(POPULAR, 0)
    empty = lists.users_by_source.get("none", 0)
    return Figure(
        "Users with a list",
        number(lists.users - empty),
        f"{number(fallback)} from the fallback" + (f", {number(empty)} none" if empty else ""),
    )


def _churn(facts: ReportFacts, check: Mapping[str, Any]) -> Figure:
    churn = check.get("churn")
    against = _run(facts.reference_run_id)
    if churn is None:
        why = f"{against} can't be compared" if against else "no earlier lists"
        return Figure("Churn", "–", why if check else "")
    return Figure("Churn", percent(churn), f"against {against or 'the lists before'}")


def _coverage(check: Mapping[str, Any], lists: Scored | None) -> Figure:
    coverage = check.get("coverage")
    gini = f"Gini {lists.gini:.2f}" if lists else ""
    return Figure("Candidates shown", "–" if coverage is None else percent(coverage), gini)


def _rows(validate: Mapping[str, Any]) -> Figure:
    if not validate:
        return Figure("Interactions", "–")
    aside = sum(validate["rejected"].values())
    return Figure("Interactions", number(validate["rows"]), f"{number(aside)} set aside")


def _parts(parts: Mapping[str, Any] | None) -> str:
    """Return which days the snapshot took from earlier nights, where any are kept."""
    if parts is None:
        return ""
    if parts["full"]:
        changed = (
            f"; {number(len(parts['changed_days']))} kept days were not as the source has them"
        )
        return f"read in full, {parts['why_full']}{changed if parts['changed_days'] else ''}"
    days = f"{number(parts['reused'])} days from {parts['from']} to {parts['to']}"
    return f"{days} as earlier nights had read them, the rest read"


def _run(run_id: int | None) -> str:
    return "" if run_id is None else f"run {run_id}"
