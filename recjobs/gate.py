"""Whether tonight's model may go live: the popularity floor, then the champion.

The gate reads what `evaluate` left in ``differences.json`` and decides on users with a training
history (segment ``known``): a new user gets the popular fallback from every model, and counting
such users would only dilute a loss.

A model that has learnt popularity and nothing else ties with the floor, and may pass it by chance:
on shuffled labels `mf` came out about 1% above it, three times of three (movietweetings, 1,750
users, standard error 1.5%). ``gate.min_lift_over_popular = 0.05`` holds such a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from recjobs.columns import CHAMPION, POPULAR
from recjobs.config import GateSettings

DECIDING_SEGMENT: Final = "known"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided.

    Attributes:
        decision: ``"promote"``, ``"hold"``, or ``"undecided"`` (too few users to tell: published).
        rule: One sentence: the rule that decided, and its figures.
        publish: Whose lists may be published: the model's, the popular fallback's, or none.
    """

    decision: Literal["promote", "hold", "undecided"]
    rule: str
    publish: Literal["model", "popular", "nothing"]


def gate(differences: Mapping[str, Any], settings: GateSettings, *, anything_live: bool) -> Verdict:
    """Decide on tonight's model.

    Args:
        differences: What `evaluate` left in ``differences.json``.
        settings: The metric and the thresholds.
        anything_live: Whether readers have lists now; without, a model below the floor leaves
            the popular lists to publish.
    """
    name, users = differences["challenger"], differences["users"][DECIDING_SEGMENT]
    if users < settings.min_users:
        return Verdict(
            "undecided",
            f"{users} evaluated users with a history, fewer than gate.min_users = "
            f"{settings.min_users}: too few to decide; {name} is published undecided.",
            "model",
        )
    floor = _row(differences, settings.metric, POPULAR)
    if floor is not None and not _reaches(floor, settings.min_lift_over_popular):
        return Verdict(
            "hold",
            f"popularity floor: {name} has {_figures(floor)}, below "
            f"{1 + settings.min_lift_over_popular:g} × {POPULAR}'s"
            + (
                "."
                if anything_live
                else "; nothing is live yet, so the popular lists are published."
            ),
            "nothing" if anything_live else "popular",
        )
    champion = _row(differences, settings.metric, CHAMPION)
    if champion is not None and _lost(champion, settings.max_drop):
        return Verdict(
            "hold",
            f"champion: {name} has {_figures(champion)}, down by more than "
            f"gate.max_drop = {settings.max_drop:g} of it, and the interval excludes zero.",
            "nothing",
        )
    return _passed(differences, floor, champion, settings, anything_live)


def _row(differences: Mapping[str, Any], metric: str, against: str) -> Mapping[str, Any] | None:
    for row in differences["differences"]:
        if (row["segment"], row["metric"], row["against"]) == (DECIDING_SEGMENT, metric, against):
            found: Mapping[str, Any] = row
            return found
    return None


def _reaches(floor: Mapping[str, Any], lift: float) -> bool:
    return bool(floor["challenger"] >= floor["other"] * (1 + lift))


def _lost(champion: Mapping[str, Any], max_drop: float) -> bool:
    drop = champion["other"] - champion["challenger"]
    return bool(drop > max_drop * champion["other"] and champion["high"] < 0)


def _passed(
    differences: Mapping[str, Any],
    floor: Mapping[str, Any] | None,
    champion: Mapping[str, Any] | None,
    settings: GateSettings,
    anything_live: bool,
) -> Verdict:
    name = differences["challenger"]
    rows = [row for row in (floor, champion) if row is not None]
    if rows and not any(row["challenger"] or row["other"] for row in rows):
        # Zero reaches zero, but proves nothing: what is live is better than that.
        nothing = f"{settings.metric} is 0 for {name} and for all that it is held against"
        if anything_live:
            return Verdict("hold", f"{nothing}: look at the candidates.", "nothing")
        return Verdict("undecided", f"{nothing}; {name} is published undecided.", "model")
    reasons = [
        f"{name} is the popularity floor itself"
        if floor is None
        else f"{name} has {_figures(floor)}, at or above {1 + settings.min_lift_over_popular:g} × "
        f"{POPULAR}'s",
        _champion_reason(differences["no_champion"], champion, settings),
    ]
    return Verdict("promote", "; ".join(reasons) + ".", "model")


def _champion_reason(
    why_none: str | None, row: Mapping[str, Any] | None, settings: GateSettings
) -> str:
    if row is not None:
        return f"no loss beyond gate.max_drop = {settings.max_drop:g} of it: {_figures(row)}"
    return f"the floor alone decides, for there is no champion: {why_none or 'none was named'}"


def _figures(row: Mapping[str, Any]) -> str:
    return (
        f"{row['metric']} {row['challenger']:.4f} against {row['against']}'s {row['other']:.4f} "
        f"(difference {row['mean']:+.4f}, interval {row['low']:+.4f} to {row['high']:+.4f}, "
        f"{row['users']} users)"
    )
