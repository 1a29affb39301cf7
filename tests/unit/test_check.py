"""The check finds each way in which lists can be wrong, and nothing in good ones."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs import log_of, score, settings_of
from recjobs.artifacts import RunFolder, StageOutput
from recjobs.check import batches as batches_module
from recjobs.check import check
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.errors import DataError
from recjobs.expectations import Outcome
from recjobs.models import make
from recjobs.progress import silent
from recjobs.train import refit

#: One row of lists.parquet, as a dict.
Row = dict[str, Any]
Rows = list[Row]

SCHEMA = pa.schema(
    [
        ("user_id", pa.int64()),
        ("item_ids", pa.list_(pa.int64())),
        ("scores", pa.list_(pa.float32())),
        ("sources", pa.list_(pa.string())),
        ("because_item_ids", pa.list_(pa.int64())),
        ("because_features", pa.list_(pa.string())),
        ("reason", pa.string()),
    ]
)
AS_OF = 10 * DAY
N = 3
#: User u has seen item u; items 1 to 9 are candidates but 9, which is not available.
USERS = (1, 2, 3, 4)


def job(**limits: Any) -> Settings:
    return settings_of(score={"n": N, "margin": 1}, check=limits)


def shop() -> Interactions:
    table = [(u, u, 1.0) for u in USERS] + [(7, i, 2.0) for i in range(1, 10)]
    log = log_of(table, users=[8])
    ids = log.users.ids.to_pylist()
    eligible = np.array([user in (*USERS, 8) for user in ids])
    available = np.array([item != 9 for item in log.items.ids.to_pylist()])
    return replace(log, eligible=eligible, available=available)


def listed(user: int, items: list[int], reason: str | None = None, **columns: Any) -> Row:
    n = len(items)
    row = {
        "user_id": user,
        "item_ids": items,
        "scores": [float(n - i) for i in range(n)],
        "sources": ["mf"] * n,
        "because_item_ids": [None] * n,
        "reason": reason,
    }
    return row | columns


def good() -> Rows:
    return [
        listed(1, [2, 3, 4, 5]),
        listed(2, [1, 3, 4, 5]),
        listed(3, [5, 1, 2, 4]),
        listed(4, [8, 7], reason="only 2 of 3: there is no other unseen candidate"),
        listed(8, [1, 2, 3, 4]),
    ]


def write(folder: Path, name: str, rows: Rows, schema: pa.Schema = SCHEMA) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / name, row_group_size=2)
    return folder / name


def run_of(folder: Path, rows: Rows, schema: pa.Schema = SCHEMA) -> RunFolder:
    """A run whose stage `score` left these lists."""
    run = RunFolder(str(folder), 1)
    with run.writing("score") as out:
        write(out.folder, "lists.parquet", rows, schema)
    return run


def checked(
    folder: Path,
    rows: Rows,
    *,
    popular: list[list[int]] | None = None,
    reference: Rows | None = None,
    settings: Settings | None = None,
    log: Interactions | None = None,
) -> dict[str, Any]:
    """Run the stage and return its summary, with the outcomes by name."""
    log = log or shop()
    fallback = pa.Table.from_pylist(
        [{"segment": "all", "item_ids": items} for items in (popular or [[1, 2, 3, 4]])],
        pa.schema([("segment", pa.string()), ("item_ids", pa.list_(pa.int64()))]),
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(fallback if popular != [] else fallback[:0], folder / "popular.parquet")
    lists = write(folder, "lists.parquet", rows)
    before = None if reference is None else run_of(folder, reference)
    out = StageOutput(folder)
    popular_lists = folder / "popular.parquet"
    check([lists], popular_lists, log, AS_OF, before, settings or job(), out, silent)
    summary = out.summary
    return {**summary, "outcomes": {o["name"]: Outcome(**o) for o in summary["outcomes"]}}


def failed(summary: dict[str, Any]) -> dict[str, float]:
    return {name: o.observed for name, o in summary["outcomes"].items() if not o.passed}


def test_good_lists_pass(tmp_path: Path) -> None:
    found = checked(tmp_path, good())
    assert failed(found) == {}
    names = {"completeness", "seen_items", "duplicates", "candidates", "coverage"}
    assert set(found["outcomes"]) == names
    assert {o.stage for o in found["outcomes"].values()} == {"check"}
    # Items 6 and 9 are in no one's first three; 9 is no candidate.
    assert found["coverage"] == pytest.approx(7 / 8)
    assert found["churn"] is None


def without(index: int) -> Callable[[Rows], None]:
    return lambda rows: rows.pop(index) and None  # type: ignore[func-returns-value]


def change(index: int, **columns: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[index].update(columns)


#: What is done to good lists, which expectation fails, with how many, and what its message says.
WRONG: dict[str, tuple[Callable[[Rows], Any], str, int, str]] = {
    "a user is missing": (without(1), "completeness", 1, "1 eligible users have no list"),
    "the last is missing": (without(4), "completeness", 1, "1 eligible users have no list"),
    "everyone is missing": (lambda r: r.clear(), "completeness", 5, "5 eligible users have"),
    "a user twice": (
        lambda r: r.insert(1, copy.deepcopy(r[0])), "completeness", 1, "a user's second one",
    ),
    "out of order": (lambda r: r.reverse(), "completeness", 4, "out of the order of user_id"),
    "not eligible": (
        lambda r: r.insert(4, listed(7, [], "seen all")), "completeness", 1, "not eligible",
    ),
    "unknown user": (
        lambda r: r.append(listed(99, [1, 2, 3])), "completeness", 2, "not eligible",
    ),
    "one for another": (
        lambda r: r.__setitem__(3, listed(7, [], "why")), "completeness", 2, "1 eligible users",
    ),
    "one twice for another": (
        lambda r: r.__setitem__(1, copy.deepcopy(r[0])), "completeness", 2, "1 eligible users",
    ),
    "short": (change(0, item_ids=[2, 3], scores=[2.0, 1.0], sources=["mf"] * 2,
                     because_item_ids=[None] * 2), "completeness", 1, "fewer than 3 items"),
    "empty": (change(0, item_ids=[], scores=[], sources=[], because_item_ids=[]),
              "completeness", 1, "fewer than 3 items and no reason"),
    "null": (change(0, item_ids=None, scores=None, sources=None, because_item_ids=None),
             "completeness", 1, "fewer than 3 items and no reason"),
    "a score too few": (change(2, scores=[1.0]), "completeness", 1, "more or fewer scores"),
    "sources are null": (change(2, sources=None), "completeness", 1, "more or fewer scores"),
    "a feature too few": (
        change(2, because_features=["kind=Crime"]), "completeness", 1, "more or fewer scores",
    ),
    "no because": (change(2, because_item_ids=[]), "completeness", 1, "more or fewer scores"),
    "seen": (change(1, item_ids=[1, 2, 4, 5]), "seen_items", 1, "1 items on the lists were seen"),
    "seen among the spares": (change(1, item_ids=[1, 3, 4, 2]), "seen_items", 1, "'all'"),
    "seen by several": (lambda r: [row["item_ids"].__setitem__(0, row["user_id"])
                                   for row in r[:4]], "seen_items", 4, "4 items"),
    "an item twice": (change(0, item_ids=[2, 3, 4, 2]), "duplicates", 1, "more than once"),
    "an item thrice": (change(0, item_ids=[2, 3, 2, 2]), "duplicates", 2, "2 items"),
    "not available": (change(0, item_ids=[2, 3, 4, 9]), "candidates", 1, "not available"),
    "unknown item": (change(0, item_ids=[2, 3, 77, 4]), "candidates", 1, "unknown before"),
    "null item": (change(0, item_ids=[2, 3, None, 4]), "candidates", 1, "unknown before"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_is_found_and_nothing_else(tmp_path: Path, name: str) -> None:
    spoil, expectation, count, message = WRONG[name]
    rows = good()
    spoil(rows)
    found = checked(tmp_path, rows, settings=job(min_coverage=0.0))
    assert failed(found) == {expectation: count}
    outcome = found["outcomes"][expectation]
    assert message in outcome.message
    assert (outcome.level, outcome.expected) == ("stop", 0.0)


@pytest.mark.parametrize(
    ("popular", "message"),
    [
        ([], "there is no popular list"),
        ([[1, 2]], "'all' has 2 items where 3 are needed"),
        ([[1, 2, 3], [1, 2, 2]], "holds an item twice"),
        ([[1, 2, 9]], "holds an item that is not a candidate"),
        ([[1, 2, 77]], "holds an item that is not a candidate"),
    ],
)
def test_the_fallback_for_new_users_is_checked_too(
    tmp_path: Path, popular: list[list[int]], message: str
) -> None:
    found = checked(tmp_path, good(), popular=popular)
    assert failed(found) == {"completeness": 1}
    assert message in found["outcomes"]["completeness"].message


def test_lists_for_nobody_and_of_nothing_are_incomplete(tmp_path: Path) -> None:
    """An `active` or `available` column that went all false must not publish an empty night."""
    log = shop()
    nobody = replace(log, eligible=np.zeros_like(log.eligible))
    found = checked(tmp_path / "users", [], log=nobody, settings=job(coverage="off"))
    assert failed(found) == {"completeness": 1}
    assert "no user is eligible" in found["outcomes"]["completeness"].message
    nothing = replace(log, available=np.zeros_like(log.available))
    rows = [listed(user, [], "nothing to recommend") for user in (*USERS, 8)]
    found = checked(tmp_path / "items", rows, log=nothing, settings=job(coverage="off"))
    assert failed(found) == {"completeness": 1}
    assert "no item is a candidate" in found["outcomes"]["completeness"].message


def test_levels_are_the_settings(tmp_path: Path) -> None:
    rows = good()
    WRONG["seen"][0](rows)
    levels = {"seen_items": "warn", "duplicates": "off", "coverage": "stop", "min_coverage": 0.99}
    found = checked(tmp_path, rows, settings=job(**levels))
    assert "duplicates" not in found["outcomes"]
    assert failed(found) == {"seen_items": 1, "coverage": found["coverage"]}
    assert found["outcomes"]["seen_items"].level == "warn"
    assert found["outcomes"]["coverage"].level == "stop"


def test_repeats_are_allowed_where_nothing_is_excluded(tmp_path: Path) -> None:
    rows = good()
    WRONG["seen by several"][0](rows)
    relaxed = settings_of(score={"n": N, "margin": 1}, feedback={"exclude_seen": "none"})
    assert failed(checked(tmp_path, rows, settings=relaxed)) == {}


def test_churn_is_the_share_of_the_reference_that_is_gone(tmp_path: Path) -> None:
    reference = [
        listed(0, [1, 2, 3]),  # of a user who is gone
        listed(1, [4, 3, 2, 8]),  # the same three in another order: 0 (8 was a spare)
        listed(2, [1, 6, 7]),  # 2 of 3 are replaced
        listed(3, [5, 88, 99]),  # unknown items can't have stayed: 2 of 3
        listed(4, [], reason="none"),  # had no list
        listed(50, [1, 2, 3]),
    ]
    found = checked(tmp_path, good(), reference=reference, settings=job(max_churn=0.4))
    assert found["churn"] == pytest.approx((0 + 2 / 3 + 2 / 3) / 3)
    assert failed(found) == {"churn": found["churn"]}
    outcome = found["outcomes"]["churn"]
    assert (outcome.level, outcome.expected) == ("warn", 0.4)
    assert "44.4% of a user's top 3" in outcome.message
    assert "mean of 3 users" in outcome.message


def test_the_same_lists_do_not_churn(tmp_path: Path) -> None:
    found = checked(tmp_path, good(), reference=good(), settings=job(max_churn=0.0))
    assert (found["churn"], failed(found)) == (0.0, {})


@pytest.mark.parametrize(("n", "users"), [(10, 3), (7, 11), (3, 6), (49, 2)])
def test_churn_on_its_limit_is_within_it(tmp_path: Path, n: int, users: int) -> None:
    """One item of each list is replaced: sums of such shares, or 1 less the others, miss it."""
    log = log_of([(users, item, 1.0) for item in range(n + 1)], users=list(range(users)))
    rows = [listed(user, list(range(n))) for user in range(users)]
    reference = [row | {"item_ids": list(range(1, n + 1))} for row in rows]
    limits = settings_of(score={"n": n, "margin": 1}, check={"max_churn": 1 / n})
    found = checked(tmp_path, rows, reference=reference, settings=limits, log=log)
    assert found["churn"] == 1 / n
    assert found["outcomes"]["churn"].passed


@pytest.mark.parametrize("lost", range(1, 20))
def test_lost_lists_on_their_limit_are_within_it(tmp_path: Path, lost: int) -> None:
    reference = [listed(user, [1, 2, 3]) for user in range(20)]
    rows = [listed(user, [1, 2, 3]) for user in range(20 - lost)]
    limits = job(max_lost_lists=float(f"{lost / 20:.2f}"))
    found = checked(tmp_path, rows, reference=reference, settings=limits)
    assert found["outcomes"]["lost_lists"].passed


def test_a_reference_of_other_users_has_no_churn(tmp_path: Path) -> None:
    found = checked(tmp_path, good(), reference=[listed(70, [1, 2, 3])])
    assert (found["churn"], found["reference_run_id"]) == (None, 1)
    assert "churn" not in found["outcomes"]


@pytest.mark.parametrize(("before", "passed"), [(1, True), (10, True), (11, False)])
def test_lists_of_far_fewer_users_than_before(tmp_path: Path, before: int, passed: bool) -> None:
    """A users table that was read while it was being filled must not go live."""
    reference = [listed(user, [1, 2, 3]) for user in range(70, 70 + before)]
    found = checked(tmp_path, good(), reference=reference)
    outcome = found["outcomes"]["lost_lists"]
    assert (outcome.level, outcome.expected, outcome.passed) == ("stop", 0.5, passed)
    assert outcome.observed == pytest.approx(max(1 - 5 / before, 0))
    assert f"5 lists, against {before} of the reference run" in outcome.message
    assert ("54.5% fewer" in outcome.message) != passed
    kept = checked(tmp_path, good(), reference=reference, settings=job(max_lost_lists=0.6))
    assert failed(kept) == {}


def _gone(folder: Path) -> RunFolder:
    run = run_of(folder, good())
    run.path("score", "lists.parquet").unlink()
    return run


def _all_gone(folder: Path) -> RunFolder:
    return RunFolder(str(folder), 1)


def _changed(folder: Path) -> RunFolder:
    run = run_of(folder, good())
    with run.path("score", "lists.parquet").open("ab") as file:
        file.write(b"x")
    return RunFolder(str(folder), 1)


def _of_an_earlier_version(folder: Path) -> RunFolder:
    return run_of(folder, good(), pa.schema([field for field in SCHEMA if field.name != "sources"]))


def _with_other_ids(folder: Path) -> RunFolder:
    rows = [row | {"user_id": f"u{row['user_id']}"} for row in good()]
    return run_of(folder, rows, SCHEMA.set(0, pa.field("user_id", pa.string())))


@pytest.mark.parametrize(
    "made", [_gone, _all_gone, _changed, _of_an_earlier_version, _with_other_ids]
)
def test_a_reference_that_can_not_be_read_stops_no_night(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, made: Callable[[Path], RunFolder]
) -> None:
    lists = write(tmp_path, "lists.parquet", good())
    popular = tmp_path / "popular.parquet"
    pq.write_table(pa.table({"segment": ["all"], "item_ids": [[1, 2, 3]]}), popular)
    out = StageOutput(tmp_path)
    before = made(tmp_path / "was")
    check([lists], popular, shop(), AS_OF, before, job(), out, silent, lists_before=11)
    assert (out.summary["churn"], out.summary["reference_run_id"]) == (None, 1)
    outcomes = {outcome["name"]: outcome for outcome in out.summary["outcomes"]}
    assert "churn" not in outcomes
    assert outcomes["lost_lists"]["observed"] == 6 / 11  # how many there were is known all the same
    assert "run 1 can't be read any more: " in caplog.text


def test_a_reference_of_which_nothing_is_known_is_compared_with_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = write(tmp_path, "lists.parquet", good())
    popular = tmp_path / "popular.parquet"
    pq.write_table(pa.table({"segment": ["all"], "item_ids": [[1, 2, 3]]}), popular)
    out = StageOutput(tmp_path)
    check([lists], popular, shop(), AS_OF, _all_gone(tmp_path / "was"), job(), out, silent)
    assert (out.summary["churn"], out.summary["reference_run_id"]) == (None, None)
    assert not {o["name"] for o in out.summary["outcomes"]} & {"churn", "lost_lists"}
    assert "run 1 can't be read any more: " in caplog.text


# Against a plain check, over any lists and any batches.

ITEMS = st.integers(1, 11)  # 9 is not available, 10 and 11 are unknown


@st.composite
def any_lists(draw: st.DrawFn) -> Rows:
    if draw(st.booleans()):
        users = sorted(draw(st.sets(st.sampled_from([*USERS, 7, 8]), min_size=3)))
    else:
        users = draw(st.lists(st.integers(0, 9), max_size=8))
    reason = st.sampled_from([None, None, "why"])
    entries = st.lists(ITEMS, max_size=5)
    return [listed(user, draw(entries), draw(reason)) for user in users]


@settings(max_examples=150)
@given(any_lists(), any_lists(), st.integers(1, 4))
def test_it_is_the_plain_check(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, reference: Rows, size: int
) -> None:
    reference = list({row["user_id"]: row for row in reference}.values())
    reference.sort(key=lambda row: row["user_id"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "_BATCH_USERS", size)
        found = checked(tmp_path_factory.mktemp("c"), rows, reference=reference)

    eligible, known = {*USERS, 8}, {*USERS, 7, 8}
    index = [sorted(known).index(r["user_id"]) if r["user_id"] in known else -1 for r in rows]
    wrong = sum(user <= last for last, user in zip([-1, *index], index, strict=False))
    wrong += sum(row["user_id"] not in eligible for row in rows)
    wrong += len(eligible - {row["user_id"] for row in rows})
    wrong += sum(len(row["item_ids"]) < N and row["reason"] is None for row in rows)
    seen = {user: {user} for user in USERS} | {7: set(range(1, 10))}
    flat = [(row["user_id"], item) for row in rows for item in row["item_ids"]]
    expected = {
        "completeness": wrong,
        "seen_items": sum(item in seen.get(user, ()) for user, item in flat),
        "duplicates": sum(
            len([i for i in row["item_ids"] if i < 10])
            - len({i for i in row["item_ids"] if i < 10})
            for row in rows
        ),
        "candidates": sum(item > 8 for _, item in flat),
    }
    assert {name: found["outcomes"][name].observed for name in expected} == expected
    shown = {item for row in rows for item in row["item_ids"][:N] if item < 9}
    assert found["coverage"] == pytest.approx(len(shown) / 8)

    if wrong and any(user <= last for last, user in zip([-1, *index], index, strict=False)):
        return  # what is out of order can't be read along with the reference
    was = {r["user_id"]: r["item_ids"][:N] for r in reference if r["item_ids"]}
    now = {r["user_id"]: r["item_ids"][:N] for r in rows if r["item_ids"]}
    both = [user for user in was if user in now and user in known]
    if both:
        gone = [np.mean([item not in now[user] or item > 9 for item in was[user]]) for user in both]
        assert found["churn"] == pytest.approx(np.mean(gone))
    else:
        assert found["churn"] is None


@pytest.mark.parametrize("missing", ["user_id", "item_ids", "scores", "sources", "reason"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, missing: str) -> None:
    kept = pa.schema([f for f in SCHEMA if f.name != missing])
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.Table.from_pylist(good(), SCHEMA).select(kept.names), path)
    with pytest.raises(DataError, match=f"Received a file without {missing}"):
        check([path], path, shop(), AS_OF, None, job(), StageOutput(tmp_path), silent)


@pytest.mark.parametrize("model", ["popular", "item_knn", None])
def test_what_is_scored_passes(tmp_path: Path, model: str | None) -> None:
    """The scorer's own lists, a user who has seen everything among them."""
    rng = np.random.default_rng(3)
    table = [(int(u), int(i), float(d)) for u, i, d in rng.integers(0, [40, 25, 10], (500, 3))]
    table += [(99, item, 3.0) for item in range(25)]
    log, settings = log_of(table), job()
    fresh = None
    if model is not None:
        chosen = settings.with_overrides({"model.name": model})
        assert make(model, {}, seed=1, threads=1).name == model
        fresh = refit(log, AS_OF, None, {}, chosen, StageOutput(tmp_path), silent)
    out = StageOutput(tmp_path)
    score(fresh, log, AS_OF, settings, out, silent)
    found = StageOutput(tmp_path)
    lists, popular = tmp_path / "lists.parquet", tmp_path / "popular.parquet"
    reference = RunFolder(str(tmp_path), 1)
    with reference.writing("score") as before:
        shutil.copy(lists, before.folder)
    check([lists], popular, log, AS_OF, reference, settings, found, silent)
    outcomes = {o["name"]: o["passed"] for o in found.summary["outcomes"]}
    assert all(outcomes.values()), found.summary
    assert set(outcomes) >= {"completeness", "lost_lists", "churn"}
    assert found.summary["churn"] == 0.0
