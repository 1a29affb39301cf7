"""The score stage: everyone's list, its sources and reasons, whatever the block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import every, log_of, score, settings_of
from recjobs import models
from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.dataset import Interactions, seen_items, training_set
from recjobs.list_rows import added
from recjobs.progress import silent
from recjobs.score import Scorer, top_n
from recjobs.shards import Shard

AS_OF = 50 * DAY
FILES = ("lists.parquet", "similar.parquet", "popular.parquet")


def small_log(*, users: int = 40, items: int = 30, seed: int = 0) -> Interactions:
    """Users of two tastes, and two more users without a row."""
    rng = np.random.default_rng(seed)
    rows = [
        (100 + user, 10 * int(item), float(rng.integers(0, 40)))
        for user in range(users)
        for item in {*rng.integers(0, items // 2, 6) * 2 + user % 2}
    ]
    return log_of(rows, users=[1, 999])


def run(
    tmp_path: Path, log: Interactions, name: str | None, **sections: Any
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The rows of each file, and the summary."""
    settings = settings_of(**{"score": {"n": 5, "margin": 2, "similar": 3}, **sections})
    model = None
    if name is not None:
        model = models.make(name, {}, seed=1, threads=2)
        model.fit(training_set(log, every(log), AS_OF, settings.feedback), epochs=2)
    tmp_path.mkdir(exist_ok=True)
    out = StageOutput(tmp_path)
    score(model, log, AS_OF, settings, out, silent)
    return {file: pq.read_table(tmp_path / file).to_pylist() for file in FILES}, out.summary


@pytest.mark.parametrize("name", ["item_knn", "ease", "mf", "ncf"])
def test_every_eligible_user_has_a_list(tmp_path: Path, name: str) -> None:
    log = small_log()
    files, summary = run(tmp_path, log, name)
    lists = files["lists.parquet"]
    assert [row["user_id"] for row in lists] == log.users.ids.to_pylist()
    seen = seen_items(log, every(log), AS_OF, "all")
    for idx, row in enumerate(lists):
        length = len(row["item_ids"])
        assert length == 7
        assert row["reason"] is None
        assert len(row["scores"]) == len(row["sources"]) == len(row["because_item_ids"]) == length
        own = log.items.decode(seen.indices[seen.indptr[idx] : seen.indptr[idx + 1]]).to_pylist()
        assert not set(own) & set(row["item_ids"])
        for source, because in zip(row["sources"], row["because_item_ids"], strict=True):
            assert (because in own) if source == name else (because is None)
    # The two users without a row get the fallback, named as such.
    for idx in (0, -1):
        assert set(lists[idx]["sources"]) == {"popular"}
        assert lists[idx]["item_ids"] == files["popular.parquet"][0]["item_ids"][:7]
    assert summary["by_source"] == {name: 40, "popular": 2}
    assert summary["users"] == 42


@pytest.mark.parametrize("name", ["item_knn", "mf", "ncf", None])
def test_the_block_changes_no_byte(tmp_path: Path, name: str | None) -> None:
    log = small_log()
    results = [
        run(tmp_path / str(size), log, name, score={"n": 5, "block_users": size})[0]
        for size in (1, 7, 64)
    ]
    assert results[0] == results[1] == results[2]
    groups = pq.ParquetFile(tmp_path / "7" / "lists.parquet").num_row_groups
    assert groups == 6  # of 42 users: memory is that of a block


@pytest.mark.parametrize("name", ["item_knn", "ease", "ials", "mf", "ncf", "sasrec", None])
def test_shards_of_any_number_give_the_same_rows(tmp_path: Path, name: str | None) -> None:
    log = small_log()
    settings = settings_of(score={"n": 5, "margin": 2, "block_users": 8})
    model = None
    if name is not None:
        model = models.make(name, {}, seed=1, threads=2)
        model.fit(training_set(log, every(log), AS_OF, settings.feedback), epochs=2)
    scorer = Scorer(model, log, AS_OF, settings)
    found = []
    for of in (1, 2, 3, 7, 50):  # of 42 users
        outs = [StageOutput(tmp_path / shard.part(str(of))) for shard in Shard.all(of)]
        for out, shard in zip(outs, Shard.all(of), strict=True):
            out.folder.mkdir()
            scorer.lists(shard, out, silent)
        lists = pa.concat_tables(pq.read_table(out.folder / "lists.parquet") for out in outs)
        found.append((lists.to_pylist(), added(out.summary for out in outs)))
    assert all(each == found[0] for each in found)
    assert found[0][1]["users"] == 42


def test_without_a_model_everyone_gets_the_popular_list(tmp_path: Path) -> None:
    files, summary = run(tmp_path, small_log(), None)
    assert {source for row in files["lists.parquet"] for source in row["sources"]} == {"popular"}
    assert summary["by_source"] == {"popular": 42}
    # Similar items come from who liked both, for popularity relates no items.
    assert any(row["similar_item_ids"] for row in files["similar.parquet"])


def test_similar_items_are_candidates_near_the_item(tmp_path: Path) -> None:
    log = small_log()
    log.available[3] = False
    files, _ = run(tmp_path, log, "item_knn")
    gone = log.items.ids[3].as_py()
    rows = files["similar.parquet"]
    assert [row["item_id"] for row in rows] == [i for i in log.items.ids.to_pylist() if i != gone]
    for row in rows:
        assert gone not in row["similar_item_ids"]
        assert row["item_id"] not in row["similar_item_ids"]
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert len(row["scores"]) <= 3
        assert {item % 20 for item in row["similar_item_ids"]} <= {row["item_id"] % 20}
    none = run(tmp_path, log, "item_knn", score={"similar": 0})[0]["similar.parquet"]
    assert all(row["similar_item_ids"] == [] for row in none)


def test_unavailable_items_are_on_no_list(tmp_path: Path) -> None:
    log = small_log()
    log.available[:10] = False
    gone = set(log.items.ids[:10].to_pylist())
    files, _ = run(tmp_path, log, "mf")
    for row in [*files["lists.parquet"], *files["popular.parquet"]]:
        assert not gone & set(row["item_ids"])


def test_only_eligible_users_get_a_list(tmp_path: Path) -> None:
    log = small_log()
    eligible = log.eligible.copy()
    eligible[::2] = False
    files, _ = run(tmp_path, replace(log, eligible=eligible), "item_knn")
    expected = [u for u, chosen in zip(log.users.ids.to_pylist(), eligible, strict=True) if chosen]
    assert [row["user_id"] for row in files["lists.parquet"]] == expected


def test_a_short_list_says_why(tmp_path: Path) -> None:
    rows = [(user, item, 1.0) for user in range(3) for item in range(4 - user)]
    files, summary = run(tmp_path, log_of(rows), "item_knn")
    lengths = [len(row["item_ids"]) for row in files["lists.parquet"]]
    reasons = [row["reason"] for row in files["lists.parquet"]]
    assert lengths == [0, 1, 2]
    assert reasons == [
        f"only {count} of 5: there is no other unseen candidate" for count in lengths
    ]
    assert summary["short"] == 3
    assert summary["by_source"]["none"] == 1


def test_a_list_that_the_model_leaves_short_is_completed(tmp_path: Path) -> None:
    # Items 5 and 6 were chosen by nobody else: item_knn has nothing to say on them for user 1.
    rows = [
        (1, 1, 1.0),
        (1, 2, 1.0),
        (2, 1, 1.0),
        (2, 2, 1.0),
        (2, 3, 1.0),
        (3, 5, 2.0),
        (4, 6, 1.0),
    ]
    files, _ = run(tmp_path, log_of(rows), "item_knn")
    first = files["lists.parquet"][0]
    assert first["item_ids"] == [3, 5, 6]
    assert first["sources"] == ["item_knn", "popular", "popular"]
    assert first["because_item_ids"][1:] == [None, None]


def test_predicted_ratings_stay_on_the_scale(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows = [
        (int(u), int(i), 1.0, float(rng.choice([1, 5], p=[0.1, 0.9])))
        for u, i in {(int(a), int(b)) for a, b in rng.integers(0, 25, (250, 2))}
    ]
    feedback = {"kind": "explicit", "positive_at": 4.0}
    files, _ = run(tmp_path, log_of(rows), "mf", feedback=feedback)
    scores = [
        score
        for row in files["lists.parquet"]
        for score, source in zip(row["scores"], row["sources"], strict=True)
        if source == "mf"
    ]
    assert scores
    assert max(scores) <= 5.0
    assert min(scores) >= 1.0


def test_top_n_yields_blocks_in_the_order_given() -> None:
    log = small_log()
    settings = settings_of()
    train = training_set(log, every(log), AS_OF, settings.feedback)
    seen = seen_items(log, every(log), AS_OF, "all")
    users = np.array([5, 3, 41, 0], dtype=np.int32)
    blocks = list(top_n(None, train, users, seen, train.candidates, 4, block_users=3))
    assert [block.user_idx.tolist() for block in blocks] == [[5, 3, 41], [0]]
    for block in blocks:
        assert block.item_idx.dtype == np.int32
        assert block.score.dtype == np.float32
        assert (block.n_model == 0).all()
        assert (np.diff(block.score, axis=1) <= 0).all()


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    reports: list[float] = []

    def progress(done: float, note: str = "") -> None:
        reports.append(done)

    told: Callable[..., None] = progress
    score(None, small_log(), AS_OF, settings_of(), StageOutput(tmp_path), told)
    assert reports == sorted(reports)
    assert reports[-1] == 1.0
