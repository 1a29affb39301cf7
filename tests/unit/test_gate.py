"""The gate's rules, one at a time and all together."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recjobs.config import GateSettings
from recjobs.gate import Verdict, gate

METRICS = ("ndcg@10", "recall@20", "hit_rate@10", "mrr")


def row(
    against: str, challenger: float, other: float, half: float = 0.01, **more: Any
) -> dict[str, Any]:
    mean = challenger - other
    return {
        "segment": "known",
        "metric": "ndcg@10",
        "against": against,
        "challenger": challenger,
        "other": other,
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "relative": mean / other if other else None,
        "users": 500,
        **more,
    }


def told(*rows: dict[str, Any], users: int = 500, why: str | None = None) -> dict[str, Any]:
    return {
        "challenger": "mf",
        "users": {"known": users, "all": users + 1000, "new": 1000},
        "no_champion": why,
        "differences": list(rows),
    }


def decide(*rows: dict[str, Any], live: bool = True, **more: Any) -> Verdict:
    limits = {key: more.pop(key) for key in set(more) - {"users", "why"}}
    return gate(told(*rows, **more), GateSettings(**limits), anything_live=live)


def test_above_the_floor_without_a_champion() -> None:
    verdict = decide(row("popular", 0.12, 0.1), why="no run with an earlier as_of has been live")
    assert (verdict.decision, verdict.publish) == ("promote", "model")
    assert "mf has ndcg@10 0.1200 against popular's 0.1000" in verdict.rule
    assert "difference +0.0200, interval +0.0100 to +0.0300, 500 users" in verdict.rule
    assert "no champion: no run with an earlier as_of has been live" in verdict.rule


def test_the_rule_says_why_a_champion_is_not_compared() -> None:
    verdict = decide(row("popular", 0.12, 0.1), why="the training data of run 6 reach into it")
    assert "the floor alone decides" in verdict.rule
    assert "the training data of run 6 reach into it" in verdict.rule


@pytest.mark.parametrize(
    ("live", "publish"), [(True, "nothing"), (False, "popular")], ids=["live", "nothing live"]
)
def test_below_the_floor(live: bool, publish: str) -> None:
    verdict = decide(row("popular", 0.099, 0.1, half=0.05), live=live)
    assert (verdict.decision, verdict.publish) == ("hold", publish)
    assert verdict.rule.startswith("popularity floor: mf has ndcg@10 0.0990")
    assert ("popular lists are published" in verdict.rule) is not live


def test_the_floor_itself_is_enough() -> None:
    assert decide(row("popular", 0.1, 0.1)).decision == "promote"


def test_the_floor_may_be_raised_or_lowered() -> None:
    assert decide(row("popular", 0.104, 0.1), min_lift_over_popular=0.05).decision == "hold"
    assert decide(row("popular", 0.106, 0.1), min_lift_over_popular=0.05).decision == "promote"
    assert decide(row("popular", 0.096, 0.1), min_lift_over_popular=-0.05).decision == "promote"
    assert "1.05 × popular's" in decide(row("popular", 0.1, 0.1), min_lift_over_popular=0.05).rule


POPULAR = row("popular", 0.12, 0.1)


@pytest.mark.parametrize(
    ("challenger", "half", "decision"),
    [
        (0.189, 0.001, "hold"),  # 5.5% down, surely
        (0.189, 0.02, "promote"),  # 5.5% down, perhaps by chance
        (0.191, 0.001, "promote"),  # 4.5% down, surely, but within what is allowed
        (0.21, 0.001, "promote"),
    ],
)
def test_a_champion_must_be_lost_to_surely_and_clearly(
    challenger: float, half: float, decision: str
) -> None:
    verdict = decide(
        row("popular", challenger, 0.1), row("champion", challenger, 0.2, half), why=None
    )
    assert verdict.decision == decision
    assert f"against champion's 0.2000 (difference {challenger - 0.2:+.4f}" in verdict.rule
    assert verdict.publish == {"hold": "nothing", "promote": "model"}[decision]


def test_a_champion_that_holds_leaves_nothing_to_publish() -> None:
    """Popularity lists are for an empty start, not for the loser of a contest."""
    verdict = decide(POPULAR, row("champion", 0.12, 0.2), live=False)
    assert (verdict.decision, verdict.publish) == ("hold", "nothing")


def test_the_floor_goes_before_the_champion() -> None:
    verdict = decide(row("popular", 0.05, 0.1), row("champion", 0.05, 0.2), live=False)
    assert verdict.rule.startswith("popularity floor")
    assert verdict.publish == "popular"


@pytest.mark.parametrize("users", [0, 99])
def test_too_few_users_decide_nothing(users: int) -> None:
    bad = (row("popular", 0.01, 0.1), row("champion", 0.01, 0.1)) if users else ()
    verdict = decide(*bad, users=users)
    assert (verdict.decision, verdict.publish) == ("undecided", "model")
    assert f"{users} evaluated users" in verdict.rule
    assert "gate.min_users = 100" in verdict.rule
    assert "published undecided" in verdict.rule


def test_users_without_a_history_do_not_count() -> None:
    """All 1,099 get a list, but for 1,000 of them every model's is the same."""
    assert decide(row("popular", 0.2, 0.1), users=99).decision == "undecided"
    assert decide(row("popular", 0.2, 0.1), users=100).decision == "promote"


def test_only_the_settings_metric_and_the_known_users_decide() -> None:
    others = [
        row("popular", 0.01, 0.1, metric=metric, segment=segment)
        for metric, segment in itertools.product(METRICS, ("known", "all"))
        if (metric, segment) != ("mrr", "known")
    ]
    good = row("popular", 0.2, 0.1, metric="mrr")
    assert decide(*others, good, metric="mrr").decision == "promote"
    assert decide(*others, good, metric="recall@20").decision == "hold"


def test_popularity_as_the_model_is_its_own_floor() -> None:
    """It is not among the differences: a model isn't compared with itself."""
    verdict = decide(row("item_knn", 0.1, 0.3), why="no run has been live")
    assert (verdict.decision, verdict.publish) == ("promote", "model")
    assert "the popularity floor itself" in verdict.rule
    lost = decide(row("item_knn", 0.1, 0.3), row("champion", 0.1, 0.2))
    assert lost.decision == "hold"


def test_nothing_found_by_anyone_proves_nothing() -> None:
    verdict = decide(row("popular", 0.0, 0.0, half=0.0), live=False)
    assert (verdict.decision, verdict.publish) == ("undecided", "model")
    assert "ndcg@10 is 0 for mf and for all" in verdict.rule
    # Where readers have lists, they keep them.
    verdict = decide(row("popular", 0.0, 0.0, half=0.0), live=True)
    assert (verdict.decision, verdict.publish) == ("hold", "nothing")
    # But a champion that finds something shows that there is something to find.
    lost = decide(row("popular", 0.0, 0.0, half=0.0), row("champion", 0.0, 0.1))
    assert lost.decision == "hold"


@pytest.mark.parametrize("worst", [0.0, 0.0999])
def test_a_baseline_is_no_gate(worst: float) -> None:
    assert decide(POPULAR, row("item_knn", worst, 0.5)).decision == "promote"


values = st.floats(0, 1)


@given(values, values, st.none() | values, st.floats(0, 0.2), st.booleans(), st.integers(0, 300))
def test_the_verdict_is_consistent(
    challenger: float,
    popular: float,
    champion: float | None,
    half: float,
    live: bool,
    users: int,
) -> None:
    rows = [row("popular", challenger, popular, half)]
    rows += [] if champion is None else [row("champion", challenger, champion, half)]
    verdict = decide(*rows, users=users, live=live)
    above = challenger >= popular
    lost = champion is not None and (
        champion - challenger > 0.05 * champion and challenger - champion + half < 0
    )
    empty = not (challenger or popular or champion)
    if users < 100 or (empty and not live):
        expected = ("undecided", "model")
    elif empty:
        expected = ("hold", "nothing")
    elif not above:
        expected = ("hold", "nothing" if live else "popular")
    elif lost:
        expected = ("hold", "nothing")
    else:
        expected = ("promote", "model")
    assert (verdict.decision, verdict.publish) == expected
    # One sentence, for a log line and a table cell.
    assert verdict.rule.endswith(".")
    assert "\n" not in verdict.rule
    assert dataclasses.asdict(verdict).keys() == {"decision", "rule", "publish"}
    # Better figures never turn a promotion into a hold.
    if verdict.decision == "promote":
        better = [row(r["against"], challenger + 0.1, r["other"], half) for r in rows]
        assert decide(*better, users=users, live=live).decision == "promote"
