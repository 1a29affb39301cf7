"""The evaluation, against a plain one that knows raw ids and sorted lists only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from logs import Row, before, log_of, rows, settings_of
from recjobs import models
from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import GateSettings, HoldoutSettings, Settings
from recjobs.dataset import Interactions, TrainingSet, training_set
from recjobs.evaluate import Champion, evaluate
from recjobs.evaluate.champion import champion_lists, refusal
from recjobs.evaluate.holdout import holdout
from recjobs.evaluate.ratings import Biases
from recjobs.files import read_json
from recjobs.gate import Verdict, gate
from recjobs.index import Index
from recjobs.models import BlockModel, History
from recjobs.models.popular import PopularSettings, popularity
from recjobs.progress import silent
from recjobs.split import Split, split

SETTINGS = settings_of(
    holdout={"days": 3},
    evaluate={"bootstrap": 100, "baselines": ["popular"], "light_user": 3},
    score={"block_users": 2},
)


class Told(BlockModel):
    """A model whose scores are told it by raw id; it knows the users and items of its training."""

    name: ClassVar[str] = "told"

    def __init__(self, score: Callable[[int, int], float]) -> None:
        self._score = score

    def fit(self, train: TrainingSet, **options: Any) -> History:
        self._users, self._items = train.users.ids.to_pylist(), train.items.ids.to_pylist()
        matrix = train.positives()
        self.known_users = np.diff(matrix.indptr) > 0
        self.known_items = np.bincount(matrix.indices, minlength=train.n_items) > 0
        return History((), None, "ndcg@10")

    def score_block(self, user_idx: Any) -> Any:
        scores = [[self._score(self._users[u], i) for i in self._items] for u in user_idx]
        return np.array(scores, dtype=np.float32).reshape(len(user_idx), len(self._items))

    def relation(self) -> None:
        return None

    def _state(self) -> Any:
        raise NotImplementedError

    def _restore(self, arrays: Any) -> None:
        raise NotImplementedError


def odd(user: int, item: int) -> float:
    """A score without ties and without sense."""
    return math.sin(user * 12.9898 + item * 78.233) + item * 1e-4


def fitted(log: Interactions, parts: Split, score: Callable[[int, int], float] = odd) -> Told:
    model = Told(score)
    model.fit(training_set(log, parts.training, parts.cutoff, SETTINGS.feedback))
    return model


@dataclass
class Found:
    """What the stage left."""

    metrics: dict[tuple[str, str, str], dict[str, Any]]
    differences: dict[str, Any]
    summary: dict[str, Any]


def run(
    folder: Path,
    model: models.Model,
    log: Interactions,
    parts: Split,
    job: Settings = SETTINGS,
    champion: Champion | None = None,
    **options: Any,
) -> Found:
    folder.mkdir(parents=True, exist_ok=True)
    out = StageOutput(folder)
    evaluate(model, log, parts, job, champion, out, silent, **options)
    table = pq.read_table(folder / "metrics.parquet").to_pylist()
    found = {(r["model"], r["segment"], r["metric"]): r for r in table}
    assert len(found) == len(table)
    return Found(found, read_json(folder / "differences.json"), out.summary)


# A plain evaluation by raw ids. A row is (user, item, day, ...), all positive.


def plain_popular(known: list[Row], items: list[int]) -> list[int]:
    """Items by popularity, which is the popular model's to define; ties by id."""
    log = log_of(known)
    train = training_set(log, log.ts >= 0, 0, SETTINGS.feedback)
    scores = popularity(train, PopularSettings().half_life_days)
    score = dict(zip(log.items.ids.to_pylist(), scores.tolist(), strict=True))
    return sorted(items, key=lambda item: (-score[item], item))


def plain_list(
    user: int, known: list[Row], candidates: set[int], seen: set[int], score: Any, n: int = 20
) -> list[int]:
    """The model's list where it knows the user, completed by popularity."""
    own: list[int] = []
    if score is not None and any(row[0] == user for row in known):
        with_rows = {row[1] for row in known} & candidates
        own = sorted(with_rows, key=lambda item: (-np.float32(score(user, item)), item))
    fallback = plain_popular(known, sorted(candidates))
    unseen = [item for item in [*own, *fallback] if item not in seen]
    return list(dict.fromkeys(unseen))[:n]


def plain_metrics(items: list[int], relevant: set[int]) -> dict[str, float]:
    hits = [item in relevant for item in items]
    gained = sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits[:10]))
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(10, len(relevant))))
    return {
        "ndcg@10": gained / ideal,
        "recall@20": sum(hits[:20]) / len(relevant),
        "hit_rate@10": float(any(hits[:10])),
        "mrr": next((1 / (rank + 1) for rank, hit in enumerate(hits) if hit), 0.0),
    }


AS_OF = 10 * DAY
#: Enough to split: rows in each part, whatever is drawn beside them.
BASE: list[Row] = [(1, 1, 0.0, None, ""), (2, 2, 3.0, None, ""), (1, 2, 5.0, None, "")]
BASE += [(1, 3, 8.0, None, "")]


@settings(max_examples=60)
@given(rows(users=7, items=8), st.booleans())
def test_it_is_the_plain_evaluation(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Row], repeats: bool
) -> None:
    table = [(*row[:3], None, "") for row in BASE + drawn if row[2] < 10]
    log = log_of(table)
    rule = "none" if repeats else "all"
    job = SETTINGS.with_overrides({"feedback.exclude_seen": rule})
    parts = split(log, job.holdout, AS_OF)
    found = run(tmp_path_factory.mktemp("e"), fitted(log, parts), log, parts, job)

    known, held = [r for r in table if r[2] < 7], [r for r in table if r[2] >= 7]
    candidates = {row[1] for row in known}
    seen = {u: set() if repeats else {r[1] for r in known if r[0] == u} for u in range(1, 8)}
    relevant = {u: {r[1] for r in held if r[0] == u} - seen[u] for u in range(1, 8)}
    judged = [user for user, items in relevant.items() if items]
    history = {u: len({r[1] for r in known if r[0] == u}) for u in judged}
    segments = {
        "all": judged,
        "new": [u for u in judged if not history[u]],
        "known": [u for u in judged if history[u]],
        "light": [u for u in judged if 0 < history[u] < 3],
        "heavy": [u for u in judged if history[u] >= 3],
    }
    assert found.summary["users"] == {name: len(users) for name, users in segments.items()}
    assert found.differences["users"] == found.summary["users"]
    assert found.summary["relevant"] == sum(map(len, relevant.values()))
    held_pairs = {(r[0], r[1]) for r in held}
    assert found.summary["already_seen"] == len(held_pairs) - found.summary["relevant"]
    assert found.summary["unknown_items"] == sum(
        item not in candidates for items in relevant.values() for item in items
    )
    for name, score in (("told", odd), ("popular", None)):
        values = {
            u: plain_metrics(plain_list(u, known, candidates, seen[u], score), relevant[u])
            for u in judged
        }
        for segment, users in segments.items():
            for metric in ("ndcg@10", "recall@20", "hit_rate@10", "mrr"):
                row = found.metrics.get((name, segment, metric))
                if not users:
                    assert row is None
                    continue
                assert row is not None
                expected = np.mean([values[u][metric] for u in users])
                assert row["value"] == pytest.approx(expected, abs=1e-6)
                assert row["users"] == len(users)
                assert row["low"] <= row["value"] + 1e-9
                assert row["high"] >= row["value"] - 1e-9


@settings(max_examples=30)
@given(rows(users=5, items=6, days=14))
def test_rows_of_the_future_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Row]
) -> None:
    log = log_of([(*row[:3], None, "") for row in BASE + drawn])
    told = []
    for each in (log, before(log, AS_OF)):
        parts = split(each, SETTINGS.holdout, AS_OF)
        folder = tmp_path_factory.mktemp("e")
        run(folder, fitted(each, parts), each, parts)
        told.append([(folder / n).read_bytes() for n in ("metrics.parquet", "differences.json")])
    assert told[0] == told[1]


def test_each_metric_has_its_cutoff(tmp_path: Path) -> None:
    """Items are listed in the order of their ids; 10, 11, 20, 21 and an unknown one are right."""
    table = [(99, item, 1.0) for item in range(1, 31)] + [(1, 30, 2.0), (99, 1, 6.0)]
    log = log_of(table + [(1, item, 8.0) for item in (10, 11, 20, 21, 77)])
    parts = split(log, SETTINGS.holdout, AS_OF)
    found = run(tmp_path, fitted(log, parts, lambda user, item: -item), log, parts)
    values = {m: found.metrics["told", "all", m]["value"] for m in ("ndcg@10", "recall@20", "mrr")}
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, 6))
    expected = {"ndcg@10": 1 / math.log2(11) / ideal, "recall@20": 3 / 5, "mrr": 1 / 10}
    assert values == pytest.approx(expected)
    assert found.metrics["told", "all", "hit_rate@10"]["value"] == 1.0
    assert found.summary["unknown_items"] == 1


def test_what_is_held_out_is_not_learnt_from() -> None:
    """Whatever the holdout's items are, every list is the same: only the marks change."""
    table = [(u, i, u % 7) for u, i in itertools.product(range(1, 9), range(1, 6))]
    lists = []
    for items in ([6, 7], [7, 8], [1, 8]):
        held = [(user, item, 8.0) for user in range(1, 9) for item in items]
        log = log_of([*table, *held], items=range(1, 9))
        judged = holdout(log, split(log, SETTINGS.holdout, AS_OF), SETTINGS)
        lists.append((judged.train.positives().toarray(), judged.seen.indices))
    for matrix, seen in lists[1:]:
        np.testing.assert_array_equal(matrix, lists[0][0])
        np.testing.assert_array_equal(seen, lists[0][1])


TASTE_ITEMS = 60


def tastes(seed: int, *, days: int = 20, users: int = 240) -> list[tuple[int, int, float]]:
    """Users of three groups, each of which likes its own third of the items best."""
    rng = np.random.default_rng(seed)
    table = []
    for user in range(users):
        group = user % 3
        likes = np.full(TASTE_ITEMS, 0.15)
        likes[group * 20 : group * 20 + 20] = 1.0
        likes /= np.arange(TASTE_ITEMS) % 20 + 3.0  # popularity within the group
        items = rng.choice(TASTE_ITEMS, 14, replace=False, p=likes / likes.sum())
        table += [(user, int(i), d) for i, d in zip(items, rng.random(14) * days, strict=True)]
    return table


def poisoned(log: Interactions) -> Interactions:
    """Shuffled labels: who chose what becomes chance, popularity stays."""
    return replace(log, item_idx=np.random.default_rng(9).permutation(log.item_idx))


@dataclass
class Night:
    found: Found
    champion: Champion
    verdict: Verdict


def night(
    folder: Path,
    log: Interactions,
    as_of: int,
    champion: Champion | None = None,
    model: str = "ease",
    **overrides: Any,
) -> Night:
    job = SETTINGS.with_overrides(
        {"evaluate.baselines": ["popular", "item_knn"], "feedback.min_item_interactions": 1}
        | overrides
    )
    parts = split(log, job.holdout, as_of)
    fresh = models.make(model, {}, seed=1, threads=2)
    fresh.fit(training_set(log, parts.training, parts.cutoff, job.feedback))
    found = run(folder, fresh, log, parts, job, champion, no_champion="no run has been live")
    verdict = gate(found.differences, GateSettings(min_users=50), anything_live=True)
    return Night(found, Champion(7, fresh, log, parts), verdict)


def test_nights_in_a_row_and_a_poisoned_one(tmp_path: Path) -> None:
    """Tastes are found and promoted; shuffled labels are held, by floor and champion alike."""
    table = tastes(1)
    first = night(tmp_path / "1", log_of([r for r in table if r[2] < 19]), 19 * DAY)
    assert (first.verdict.decision, first.found.summary["champion_run_id"]) == ("promote", None)
    assert first.found.summary["no_champion"] == "no run has been live"
    assert "no champion: no run has been live" in first.verdict.rule
    assert set(first.found.summary["metrics"]) == {"ease", "popular", "item_knn"}
    ours = first.found.summary["metrics"]["ease"]["ndcg@10"]
    assert ours > 1.3 * first.found.summary["metrics"]["popular"]["ndcg@10"]

    second = night(tmp_path / "2", log_of(table), 20 * DAY, first.champion)
    assert second.found.summary["champion_run_id"] == 7
    assert second.found.summary["no_champion"] is None
    assert second.verdict.decision == "promote", second.verdict
    assert "against champion's" in second.verdict.rule

    third = night(tmp_path / "3", poisoned(log_of(table)), 20 * DAY, first.champion)
    assert (third.verdict.decision, third.verdict.publish) == ("hold", "nothing"), third.verdict


def test_the_champion_is_held_to_although_the_floor_is_passed(tmp_path: Path) -> None:
    """A worse model than the live one, above popularity all the same."""
    table = tastes(2, users=400)
    first = night(tmp_path / "1", log_of([r for r in table if r[2] < 19]), 19 * DAY)
    log = log_of(table)
    parts = split(log, SETTINGS.holdout, 20 * DAY)
    weak = fitted(log, parts, lambda user, item: (item // 20 == user % 3) + odd(user, item))
    found = run(tmp_path / "2", weak, log, parts, champion=first.champion)
    verdict = gate(found.differences, GateSettings(min_users=50), anything_live=True)
    assert verdict.decision == "hold"
    assert verdict.rule.startswith("champion: told has ndcg@10")


def test_popularity_as_the_model_is_not_compared_with_itself(tmp_path: Path) -> None:
    found = night(tmp_path, log_of(tastes(3)), 20 * DAY, model="popular").found
    assert {row["against"] for row in found.differences["differences"]} == {"item_knn"}


def test_popularity_is_judged_though_no_baseline_asks_for_it(tmp_path: Path) -> None:
    found = night(
        tmp_path, log_of(tastes(3)), 20 * DAY, **{"evaluate.baselines": ["ease"]}
    ).found  # fmt: skip
    assert {row["against"] for row in found.differences["differences"]} == {"popular"}


def test_new_users_are_judged_on_the_fallback(tmp_path: Path) -> None:
    late = [(1000 + user, item, 19.5) for user in range(40) for item in (0, 20, 41)]
    found = night(tmp_path, log_of(tastes(4) + late), 20 * DAY).found
    assert found.summary["users"]["new"] == 40
    for metric in ("ndcg@10", "recall@20", "hit_rate@10", "mrr"):
        values = {found.metrics[name, "new", metric]["value"] for name in ("ease", "popular")}
        assert len(values) == 1
        assert values.pop() > 0
        assert (found.metrics["ease", "known", metric]["value"]
                != found.metrics["popular", "known", metric]["value"])  # fmt: skip


def test_differences_are_paired_and_told_per_metric(tmp_path: Path) -> None:
    found = night(tmp_path, log_of(tastes(5)), 20 * DAY).found
    told = found.differences["differences"]
    keys = {(row["segment"], row["metric"], row["against"]) for row in told}
    metrics = ("ndcg@10", "recall@20", "hit_rate@10", "mrr")
    assert keys == set(itertools.product(("known", "all"), metrics, ("popular", "item_knn")))
    for row in told:
        ours = found.metrics["ease", row["segment"], row["metric"]]
        theirs = found.metrics[row["against"], row["segment"], row["metric"]]
        assert row["challenger"] == pytest.approx(ours["value"])
        assert row["other"] == pytest.approx(theirs["value"])
        assert row["mean"] == pytest.approx(ours["value"] - theirs["value"])
        assert row["relative"] == pytest.approx(row["mean"] / row["other"])
        assert row["low"] <= row["mean"] <= row["high"]
        assert row["users"] == ours["users"]


def test_exposure_is_over_everyone_who_is_judged(tmp_path: Path) -> None:
    found = night(tmp_path, log_of(tastes(6)), 20 * DAY)
    rows_of = found.found.metrics
    for name in ("ease", "popular"):
        assert rows_of[name, "all", "coverage"]["low"] is None
        assert 0 < rows_of[name, "all", "coverage"]["value"] <= 1
        assert 0 < rows_of[name, "all", "mean_popularity"]["value"] < 1
        assert rows_of[name, "all", "mean_popularity"]["low"] is not None
    assert rows_of["popular", "all", "gini"]["value"] > rows_of["ease", "all", "gini"]["value"]
    assert ("ease", "new", "coverage") not in rows_of


def test_of_many_users_some_are_drawn_and_each_is_judged_as_before(tmp_path: Path) -> None:
    log = log_of(tastes(6))
    parts = split(log, SETTINGS.holdout, 20 * DAY)
    everyone = holdout(log, parts, SETTINGS)
    few = SETTINGS.with_overrides({"gate.min_users": 1, "evaluate.max_users": 5})
    drawn = holdout(log, parts, few)
    assert (len(drawn.users), drawn.drawn_from, everyone.drawn_from) == (
        5,
        len(everyone.users),
        None,
    )
    assert drawn.users.tolist() == sorted(set(drawn.users.tolist()) & set(everyone.users.tolist()))
    assert holdout(log, parts, few).users.tolist() == drawn.users.tolist()
    other = holdout(log, parts, few.with_overrides({"job.seed": 7}))
    assert other.users.tolist() != drawn.users.tolist()
    at = np.searchsorted(everyone.users, drawn.users)
    for place, user in zip(at, range(5), strict=True):
        theirs = everyone.relevant[everyone.indptr[place] : everyone.indptr[place + 1]]
        ours = drawn.relevant[drawn.indptr[user] : drawn.indptr[user + 1]]
        assert ours.tolist() == theirs.tolist()


def test_nobody_to_judge_is_undecided(tmp_path: Path) -> None:
    """All that is held out was seen before: no metrics, no crash, nothing decided."""
    log = log_of([(1, 1, 1), (1, 2, 2), (2, 1, 3), (1, 1, 8), (2, 1, 9)])
    parts = split(log, SETTINGS.holdout, AS_OF)
    found = run(tmp_path, fitted(log, parts), log, parts)
    assert (found.metrics, found.differences["differences"]) == ({}, [])
    assert found.summary["already_seen"] == 2
    assert gate(found.differences, SETTINGS.gate, anything_live=True).decision == "undecided"


def test_nobody_to_judge_re_ranked_lists(tmp_path: Path) -> None:
    log = log_of([(1, 1, 1), (1, 2, 2), (2, 1, 3), (1, 1, 8), (2, 1, 9)])
    settings = SETTINGS.with_overrides({"rerank.popularity": 0.5})
    parts = split(log, settings.holdout, AS_OF)
    found = run(tmp_path, fitted(log, parts), log, parts, settings)
    assert found.metrics == {}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    log = log_of(tastes(7))
    for name in ("1", "2"):
        night(tmp_path / name, log, 20 * DAY)
    other = night(tmp_path / "3", log, 20 * DAY, **{"job.seed": 5, "score.block_users": 1000})
    read = [(tmp_path / n / "metrics.parquet").read_bytes() for n in ("1", "2", "3")]
    assert read[0] == read[1] != read[2]
    again = night(tmp_path / "4", log, 20 * DAY)
    for key, row in other.found.metrics.items():
        assert row["value"] == again.found.metrics[key]["value"]  # the seed is the interval's


# The champion, whose indexes are another night's.


@settings(max_examples=60)
@given(rows(users=7, items=8, days=8), rows(users=7, items=8), st.sampled_from([5, 6, 8]))
def test_a_champion_ranks_by_raw_id(theirs: list[Row], ours: list[Row], at: int) -> None:
    """Its log may hold users and items that are gone tonight, and miss others; ids decide."""
    theirs = [(r[0] + 2, r[1] + 2, *r[2:]) for r in theirs if r[2] < at]
    told = {
        name: [(*row[:3], None, "") for row in BASE + table if row[2] < 10]
        for name, table in (("theirs", theirs), ("ours", ours))
    }
    old, log = log_of([r for r in told["theirs"] if r[2] < at]), log_of(told["ours"])
    known = old.ts < (at - 1) * DAY
    none = np.zeros(len(old), dtype=np.bool_)
    champion_split = Split(known, none, ~known, (at - 1) * DAY)
    champion = Champion(3, fitted(old, champion_split), old, champion_split)
    judged = holdout(log, split(log, SETTINGS.holdout, AS_OF), SETTINGS)
    lists = champion_lists(champion, log, judged, SETTINGS)

    tonight = [r for r in told["ours"] if r[2] < 7]
    trained = [r for r in told["theirs"] if r[2] < at - 1]
    candidates = {r[1] for r in trained} & {r[1] for r in tonight}
    for user_idx, received in zip(judged.users, lists, strict=True):
        user = log.users.ids[int(user_idx)].as_py()
        seen = {r[1] for r in tonight if r[0] == user}
        expected = plain_list(user, trained, candidates, seen, odd)
        names = log.items.decode(received[received >= 0]).to_pylist()
        assert names == expected
        assert (received[len(names) :] == -1).all()


def nights(log: Interactions, *, cut: int = 9) -> tuple[Champion, Split]:
    """The champion of the night before, and tonight's split."""
    was = before(log, cut * DAY)
    parts = split(was, SETTINGS.holdout, cut * DAY)
    return Champion(3, fitted(was, parts), was, parts), split(log, SETTINGS.holdout, AS_OF)


#: Each day each of three users chooses the next item.
HISTORY = [(user, day + user, day) for user, day in itertools.product((1, 2, 3), range(10))]


def test_successive_nights_can_be_compared() -> None:
    log = log_of(HISTORY)
    champion, tonight = nights(log)
    assert refusal(champion, log, tonight, SETTINGS) is None


def test_a_champion_that_saw_the_holdout_is_refused(tmp_path: Path) -> None:
    log = log_of(HISTORY)
    champion, tonight = nights(log)
    known = champion.log.ts < 8 * DAY  # a day of tonight's holdout
    refitted = replace(champion, split=Split(known, known & ~known, ~known, 8 * DAY))
    reason = refusal(refitted, log, tonight, SETTINGS)
    assert reason is not None
    in_reach = int(((log.ts >= 7 * DAY) & (log.ts < 8 * DAY)).sum())
    assert f"has seen {in_reach} of {int(tonight.holdout.sum())} held-out rows" in reason

    best = fitted(log, tonight, lambda user, item: item)
    found = run(tmp_path, best, log, tonight, champion=refitted)
    assert found.summary["no_champion"] == reason
    assert found.summary["champion_run_id"] is None
    assert {row["against"] for row in found.differences["differences"]} == {"popular"}
    verdict = gate(found.differences, GateSettings(min_users=1), anything_live=True)
    assert verdict.decision == "promote"
    assert reason in verdict.rule


def test_one_row_in_reach_is_enough_and_is_found_by_id() -> None:
    """The champion's indexes differ; its ids are what is compared: (1, 9, day 8) is held out."""
    log = log_of(HISTORY)
    _, tonight = nights(log)
    for row, refused in (((1, 9, 8), True), ((1, 9, 7.5), False), ((2, 9, 9.5), False)):
        mine = log_of([(0, 0, 1), (1, 0, 2), row, (50, 60, 1)])
        training = np.ones(len(mine), dtype=np.bool_)
        parts = Split(training, ~training, ~training, AS_OF)
        champion = Champion(3, Told(odd), mine, parts)
        assert (refusal(champion, log, tonight, SETTINGS) is not None) is refused


def test_a_row_that_tonights_training_holds_too_is_no_advantage() -> None:
    """A view and a purchase at one instant, of which one is held out."""
    table = [(1, 1, 1.0, None, "view"), (1, 2, 2.0, None, "view"), (1, 3, 3.0, None, "buy"),
             (1, 3, 3.0, None, "view"), (2, 1, 1.0, None, "buy"), (2, 2, 2.0, None, "buy"),
             (2, 4, 5.0, None, "buy")]  # fmt: skip
    log = log_of(table)
    last = split(log, HoldoutSettings(kind="last_per_user"), AS_OF)
    assert log.event_names[log.event[last.holdout & (log.user_idx == 0)][0]] == "view"
    first = log.ts < 4 * DAY
    champion = Champion(3, Told(odd), log, Split(first & ~last.holdout, ~first & first,
                        last.holdout, 4 * DAY))  # fmt: skip
    assert refusal(champion, log, last, SETTINGS) is None


def test_ids_of_another_type_cannot_be_compared() -> None:
    log = log_of(HISTORY)
    champion, tonight = nights(log)
    text = Index.of("text", champion.log.items.ids.cast(pa.string()))
    other = replace(champion, log=replace(champion.log, items=text))
    reason = refusal(other, log, tonight, SETTINGS)
    assert reason == "run 3 has items of id type text, tonight's is bigint"


# Ratings.


class Rater(Told):
    """Predicts what it is told, by index."""

    name: ClassVar[str] = "rater"

    def __init__(self, rate: Callable[[Any, Any], Any]) -> None:
        super().__init__(odd)
        self.rating_range = (1.0, 5.0)
        self._rate = rate

    def predict(self, user_idx: Any, item_idx: Any) -> Any:
        return self._rate(user_idx, item_idx).astype(np.float32)


def ratings_log() -> Interactions:
    rng = np.random.default_rng(8)
    kind, good = rng.normal(0, 0.6, 40), rng.normal(0, 0.8, 25)
    table = []
    for user, item in itertools.product(range(40), range(25)):
        if rng.random() < 0.5:
            rating = np.clip(3.2 + kind[user] + good[item] + rng.normal(0, 0.3), 1, 5)
            day = rng.random() * 10 if user < 36 else 9 + rng.random()  # the last four are new
            table.append((user, item, day, float(rating)))
    return log_of(table)


def test_errors_are_over_every_held_out_rating(tmp_path: Path) -> None:
    log = ratings_log()
    job = SETTINGS.with_overrides({"feedback.kind": "explicit", "feedback.positive_at": 4.0})
    parts = split(log, job.holdout, AS_OF)
    model = Rater(lambda users, items: 1 + (users + items) % 5)
    model.fit(training_set(log, parts.training, parts.cutoff, job.feedback))
    found = run(tmp_path, model, log, parts, job)

    held = parts.holdout
    for segment, rows_in in (
        ("all", held),
        ("new", held & (log.user_idx >= 36)),
        ("known", held & (log.user_idx < 36)),
    ):
        predicted = 1 + (log.user_idx[rows_in] + log.item_idx[rows_in]) % 5
        truth = log.rating[rows_in]
        rmse = found.metrics["rater", segment, "rmse"]
        assert rmse["value"] == pytest.approx(root_mean_squared_error(truth, predicted), rel=1e-5)
        assert rmse["users"] == len(np.unique(log.user_idx[rows_in]))
        assert rmse["low"] < rmse["value"] < rmse["high"]
        mae = found.metrics["rater", segment, "mae"]
        assert mae["value"] == pytest.approx(mean_absolute_error(truth, predicted), rel=1e-5)
        assert found.metrics["biases", segment, "rmse"]["value"] < rmse["value"]


def test_a_baseline_without_a_positive_gives_the_popular_lists(tmp_path: Path) -> None:
    log = ratings_log()
    held = log.ts >= 7 * DAY
    log = replace(log, rating=np.where(held, np.float32(5), np.minimum(log.rating, 3.9)))
    given = {"feedback.kind": "explicit", "feedback.positive_at": 4.0}
    job = SETTINGS.with_overrides({**given, "evaluate.baselines": ["popular", "item_knn"]})
    parts = split(log, job.holdout, AS_OF)
    model = Rater(lambda users, items: users * 0.0)
    model.fit(training_set(log, parts.training, parts.cutoff, job.feedback))
    found = run(tmp_path, model, log, parts, job).metrics
    for metric in ("ndcg@10", "recall@20"):
        assert found["item_knn", "all", metric] == {
            **found["popular", "all", metric], "model": "item_knn"
        }  # fmt: skip


def test_popularity_is_counted_alike_with_and_without_a_tradeoff(tmp_path: Path) -> None:
    log = ratings_log()
    job = SETTINGS.with_overrides({"feedback.positive_at": 4.0, "rerank.popularity": 0.3})
    parts = split(log, job.holdout, AS_OF)
    model = Told(odd)
    model.fit(training_set(log, parts.training, parts.cutoff, job.feedback))
    found = run(tmp_path, model, log, parts, job).metrics["told", "all", "mean_popularity"]
    as_set = next(p for p in read_json(tmp_path / "tradeoff.json") if p["strength"] == 1)
    assert as_set["mean_popularity"] == pytest.approx(found["value"])


def test_implicit_feedback_has_no_errors(tmp_path: Path) -> None:
    log = ratings_log()
    parts = split(log, SETTINGS.holdout, AS_OF)
    model = Rater(lambda users, items: users * 0.0)
    model.fit(training_set(log, parts.training, parts.cutoff, SETTINGS.feedback))
    found = run(tmp_path, model, log, parts)
    assert not {key for key in found.metrics if key[2] in ("rmse", "mae")}


def test_a_user_who_rates_what_all_like_is_not_generous() -> None:
    table = [(user, 1, 1.0, 5.0) for user in range(100)]
    table += [(user, 2, 1.0, 1.0) for user in range(1, 100)]
    log = log_of(table)
    job = SETTINGS.with_overrides({"feedback.kind": "explicit"})
    biases = Biases.fit(training_set(log, log.ts >= 0, AS_OF, job.feedback))
    assert abs(biases.user[0]) < 0.05


def test_biases_know_the_mean_the_item_and_the_user() -> None:
    log = ratings_log()
    parts = split(log, SETTINGS.holdout, AS_OF)
    job = SETTINGS.with_overrides({"feedback.kind": "explicit"})
    train = training_set(log, parts.training, parts.cutoff, job.feedback)
    biases = Biases.fit(train)
    users, items, truth = (a[parts.holdout & (log.user_idx < 36)]
                           for a in (log.user_idx, log.item_idx, log.rating))  # fmt: skip
    error = root_mean_squared_error(truth, biases.predict(users, items))
    spread = root_mean_squared_error(truth, np.full(len(truth), train.rating.mean()))
    assert 0.3 < error < 0.6 * spread  # noise 0.3 is the floor
    new = np.array([38], dtype=np.int32)
    item = np.array([3], dtype=np.int32)
    expected = np.clip(biases.mean + biases.item[3], *train.rating_range)
    assert biases.predict(new, item)[0] == pytest.approx(expected, rel=1e-6)
    low, high = train.rating_range
    every = biases.predict(*np.divmod(np.arange(40 * 25), 25))
    assert every.min() >= low
    assert every.max() <= high
