"""The splits of `make bench-quality`, on rows small enough to check by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import data, friends, quality, quality_page
from benchmarks import quality_splits as splits
from recjobs.files import write_json
from recjobs.models import REGISTRY

#: user_id, item_id, ts: user 1's last two tie, and the later row is the last.
ROWS = [(1, 10, 5), (1, 11, 9), (2, 10, 4), (1, 12, 9), (2, 13, 3), (2, 14, 1), (3, 15, 2)]


def carved(carve, folder: Path) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:  # type: ignore[no-untyped-def]
    names = ("user_id", "item_id", "ts")
    rows = pa.table(dict(zip(names, map(pa.array, zip(*ROWS, strict=True)), strict=True)))
    carve(rows, folder)
    parts = (pq.read_table(folder / f"{part}.parquet").to_pylist() for part in ("train", "test"))
    train, test = ([tuple(row.values()) for row in part] for part in parts)
    assert sorted(train + test) == sorted(ROWS)
    assert train == [row for row in ROWS if row in train]  # the order of rows is kept
    return train, test


def test_last_of_each(tmp_path: Path) -> None:
    _, test = carved(splits.last_of_each, tmp_path)
    assert test == [(2, 10, 4), (1, 12, 9), (3, 15, 2)]
    negatives = pq.read_table(tmp_path / "negatives.parquet").to_pylist()
    assert {row["user_id"]: sorted(row["negatives"]) for row in negatives} == {
        1: [13, 14, 15], 2: [11, 12, 15], 3: [10, 11, 12, 13, 14],
    }  # fmt: skip


def test_some_of_each(tmp_path: Path) -> None:
    _, test = carved(splits.some_of_each, tmp_path)
    assert sorted(row[0] for row in test) == [1, 2]  # user 3 keeps the only row there is


def test_new_users_and_new_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, items = carved(splits.new_items, tmp_path)
    assert len({row[1] for row in items}) == 1
    monkeypatch.setattr(splits.np.random, "default_rng", lambda seed: _Reversed())
    rows = [(user, 10 * user + n, n) for n in (2, 0, 1) for user in range(5)]
    monkeypatch.setitem(globals(), "ROWS", rows)
    train, users = carved(splits.new_users(1), tmp_path)
    assert users == [(4, 42, 2), (4, 41, 1)]
    assert (4, 40, 0) in train


class _Reversed:
    def permutation(self, values):  # type: ignore[no-untyped-def]
        return values[::-1]


def test_last_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "_DAY", 1)
    _, test = carved(splits.last_days(4), tmp_path)
    assert test == [(1, 10, 5), (1, 11, 9), (1, 12, 9)]


def test_a_split_is_carved_again_where_its_data_or_the_carving_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "latest-small-time"
    folder = tmp_path / "data" / "ml-latest-small"
    folder.mkdir(parents=True)
    monkeypatch.setattr(data, "DATA", tmp_path / "data")
    pq.write_table(pa.table({"item_id": [1, 2]}), folder / "items.parquet")

    def digest_of(n: int) -> str | None:
        day = range(0, 86_400 * n, 86_400)
        rows = pa.table({"user_id": range(n), "item_id": range(n), "ts": day})
        pq.write_table(rows, folder / "interactions.parquet")
        return splits.digest(splits.files(name, tmp_path))

    first, more = digest_of(300), digest_of(400)
    assert splits.digest(tmp_path / "splits" / "gowalla") is None
    assert more != first
    pq.write_table(pa.table({"item_id": [1, 3]}), folder / "items.parquet")
    items = digest_of(400)
    assert items not in (first, more)
    train = tmp_path / "splits" / name / "train.parquet"
    train.write_bytes(b"as an earlier carving left it")
    assert digest_of(400) == items  # nothing has changed: it is not carved
    monkeypatch.setattr(splits, "_CARVING", splits._CARVING + 1)
    assert digest_of(400) == items
    assert pq.read_metadata(train).num_rows == 400 - 181


def test_cells_of_other_rows_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECJOBS_BENCH_CACHE", str(tmp_path))
    name, cells = "gowalla", tmp_path / "cells" / "gowalla"
    cells.mkdir(parents=True)
    for model, split in (("ease", "now"), ("elsa", "before"), ("item_knn", "now")):
        preset = {"neighbours": 1} if model == "item_knn" else {}
        write_json(cells / f"{model}-1.json", {"split": split, "preset": preset})
    measured, stale = quality.cells_of_today({})
    assert (set(measured[name]), stale) == ({"ease", "elsa"}, set())  # no split is here
    (tmp_path / "splits" / name).mkdir(parents=True)
    write_json(tmp_path / "splits" / name / "split.json", {"digest": "now"})
    measured, stale = quality.cells_of_today({})
    assert (set(measured[name]), stale) == ({"ease"}, {(name, "elsa")})


def test_of_each_person_a_link_is_withheld_and_one_is_kept() -> None:
    pairs = np.array([(1, 2), (2, 3), (2, 4), (3, 4), (4, 5), (3, 5)])
    counts = []
    for seed in range(20):
        held = friends.withheld(pairs, seed)
        assert set(pairs[~held].ravel()) == {1, 2, 3, 4, 5}  # 1 has but one, which is never drawn
        assert not held[0]
        assert (held == friends.withheld(pairs, seed)).all()
        counts.append(held.sum())
    assert min(counts) > 0


def test_every_family_of_the_registry_is_measured_somewhere() -> None:
    assert set(REGISTRY) <= {model for split in splits.SPLITS.values() for model in split.models}


def test_the_page_shows_what_is_measured_and_what_is_not(tmp_path: Path) -> None:
    page = tmp_path / "quality.md"
    page.write_text(f"before\n{quality_page.START}\nold\n{quality_page.END}\nafter\n")
    metrics = {"hit_rate@10": 0.7, "ndcg@10": 0.4}
    result = {
        "metrics": metrics, "intervals": {name: [0.1, 0.9] for name in metrics}, "counts": {},
        "fit_seconds": 2.0, "score_seconds": 1.0, "peak_memory_mb": 512.0, "threads": 1,
    }  # fmt: skip
    cell = {"result": result, "preset": {"l2": 3.0}, "cores": 2, "date": "2026-01-02"}
    families = {name: ["mf"] for name in splits.SPLITS} | {"ml-1m-99": ["ease", "mf"]}
    presets: dict[str, Any] = {"ml-1m-99": {"ease": {"l2": 3.0}}}
    stale: set[tuple[str, str]] = set()

    def write(cells: quality_page.Cells) -> str:
        quality_page.write(page, cells, stale, families, presets, "# presets")
        return page.read_text()

    text = write({"ml-1m-99": {"ease": [cell, cell]}})
    assert "| `ease` | 0.7000 [0.1000, 0.9000] | 0.4000" in text
    assert "l2 = 3.0" in text
    assert "Not measured yet: mf." in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert write({}) == text  # of which nothing is here any more: it stays
    assert write({"ml-1m-99": {"ease": [cell | {"date": "2026-03-04"}]}}) == text  # fewer seeds
    assert "2026-03-04" in write({"ml-1m-99": {"ease": [cell, cell | {"date": "2026-03-04"}]}})
    text = page.read_text()
    stale.add(("ml-1m-99", "ease"))  # what was measured here was of other rows
    assert "`ease`" not in write({})
    stale.clear()
    page.write_text(text)
    presets["ml-1m-99"]["ease"]["l2"] = 4.0  # it was measured with other settings
    assert "`ease`" not in write({})


def test_differences_stay_with_their_rows(tmp_path: Path) -> None:
    page, name = tmp_path / "quality.md", "ml-1m-time"
    page.write_text(f"{quality_page.START}{quality_page.END}")
    metrics = ("ndcg@10", "recall@20")

    def cell(model: str, shift: float) -> dict[str, Any]:
        per_user = tmp_path / f"{model}.parquet"
        table = {"user_id": [1, 2, 3], "ndcg@10": [shift, 0.2 + shift, 0.1 + shift]}
        pq.write_table(pa.table(table), per_user)
        result = {
            "metrics": dict.fromkeys(metrics, shift), "intervals": {key: [0, 1] for key in metrics},
            "counts": {}, "fit_seconds": 2.0, "score_seconds": 1.0, "peak_memory_mb": None,
            "threads": 1,
        }  # fmt: skip
        return {"result": result, "preset": {}, "cores": 2, "date": "x", "per_user": str(per_user)}

    def write(**cells: list[dict[str, Any]]) -> str:
        families = {each: ["popular", "ease"] for each in splits.SPLITS}
        quality_page.write(page, {name: cells}, set(), families, {}, "")
        return page.read_text()

    text = write(popular=[cell("popular", 0.0)], ease=[cell("ease", 0.25)])
    assert "| `ease` | +0.2500 [+0.2500, +0.2500] |  |" in text
    assert write() == text
    # Of what is not here, nobody knows the difference from what was measured anew.
    text = write(ease=[cell("ease", 0.5)])
    assert "| `ease` |  |  |" in text
    assert "| `popular` |  |  |" in text
