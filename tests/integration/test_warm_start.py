"""Nights that start from the weights of the one before, against a real Postgres."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import shop as shops
from recjobs import cli, live, pipeline
from recjobs.files import read_json
from recjobs.pointer import Job
from recjobs.runs import Run, RunStore, run_folder
from shop import Shop, night

_TRAIN = """
[train]
warm_start = true
cold_every = 3
[model.params]
epochs = 8
embedding_dim = 8
[gate]
max_drop = 0.9
"""


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model="mf")
    shop.config.write_text(shop.config.read_text() + _TRAIN)
    return shop


def found(run: Run, stage: str) -> dict[str, Any]:
    return run_folder(run).manifest(stage).summary


def page(run: Run) -> str:
    return " ".join(run_folder(run).path("report", "report.html").read_text().split())


def models_judged(run: Run) -> set[str]:
    return set(
        pq.read_table(run_folder(run).path("evaluate", "metrics.parquet"))["model"].to_pylist()
    )


def test_nights_start_from_the_one_before_and_one_in_so_many_from_scratch(shop: Shop) -> None:
    nights = [pipeline.run_night(shop.settings, night(day)) for day in (24, 25, 26, 27)]
    assert [run.parent_run_id for run in nights] == [None, *(run.run_id for run in nights[:3])]
    assert [run.warm_nights for run in nights] == [0, 1, 2, 0]
    for run, warm in zip(nights, (False, True, True, False), strict=True):
        assert found(run, "train")["warm"] is found(run, "refit")["warm"] is warm
        assert found(run, "train")["control"] is (run is nights[3])
        assert ("warm start" in models_judged(run)) is (run is nights[3])
    best, epochs = found(nights[0], "train")["best_epoch"], found(nights[2], "train")["epochs"]
    assert epochs == found(nights[2], "refit")["epochs"] == max(1, round(0.4 * best))
    assert found(nights[2], "train")["best_epoch"] == best

    assert "It was trained from scratch.</p>" in page(nights[0])
    assert f"from the weights of run {nights[1].run_id}: night 2 since" in page(nights[2])
    assert "No validation: the weights have seen most of it." in page(nights[2])
    control = f"is what the weights of run {nights[2].run_id} would have given"
    assert control in page(nights[3])
    differences = read_json(run_folder(nights[3]).path("evaluate", "differences.json"))
    assert {row["against"] for row in differences["differences"]} >= {"warm start", "popular"}


@pytest.mark.parametrize("model", ["ncf", "sasrec"])
def test_a_night_of_its_own_process_may_have_fewer_threads_than_processors(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model=model)
    few = _TRAIN.replace("epochs = 8", "epochs = 2")
    one_thread = shop.config.read_text().replace("training_threads = 2", "training_threads = 1")
    shop.config.write_text(one_thread + few)
    for day in (24, 25):  # not in this process, where TensorFlow may run already
        words = [sys.executable, "-m", "recjobs.cli", "run", "--as-of", f"{night(day):%Y-%m-%d}"]
        done = subprocess.run(
            [*words, "--config", str(shop.config)], capture_output=True, text=True, check=False
        )
        assert "TensorFlow already runs" not in done.stderr
    last = RunStore.of(shop.settings).latest(1)[0]
    assert (last.warm_nights, found(last, "train")["warm"]) == (1, True)


def test_the_same_parent_gives_the_same_lists(shop: Shop) -> None:
    pipeline.run_night(shop.settings, night(24))
    one = pipeline.run_night(shop.settings, night(25))
    other = pipeline.run_night(shop.settings, night(25), fresh=True)
    assert one.parent_run_id == other.parent_run_id
    lists = [run_folder(run).path("score", "lists.parquet").read_bytes() for run in (one, other)]
    assert lists[0] == lists[1]


def test_a_run_keeps_the_parent_that_it_was_opened_with(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(23))
    opened = pipeline.begin(shop.settings, night(25))
    RunStore.of(shop.settings).release(opened.run_id)
    between = pipeline.run_night(shop.settings, night(24))
    assert pipeline.run_night(shop.settings, night(25)).parent_run_id == first.run_id
    # One that was taken back is nobody's parent.
    settings = shop.settings
    live.rollback(Job.of(settings), pin=False, by="me", why="a drill")
    assert pipeline.begin(settings, night(26)).parent_run_id == between.run_id


def test_a_parent_that_can_not_be_used_is_a_reason_and_no_failure(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    run_folder(first).remove()
    second = pipeline.run_night(shop.settings, night(25))
    assert (second.status, second.parent_run_id, second.warm_nights) == ("stored", first.run_id, 0)
    assert "are no longer in" in found(second, "train")["why_cold"]
    assert f"not from the weights of run {first.run_id}: the artifacts" in page(second)

    shop.config.write_text(
        shop.config.read_text().replace("embedding_dim = 8", "embedding_dim = 9")
    )
    third = pipeline.run_night(shop.settings, night(26))
    assert found(third, "train")["why_cold"] == f"run {second.run_id} has other hyperparameters"

    days = shop.config.read_text().replace("days = 4", "days = 9")
    shop.config.write_text(days)  # what yesterday was trained on is now held out
    fourth = pipeline.run_night(shop.settings, night(27))
    assert "reach into tonight's holdout" in found(fourth, "train")["why_cold"]


def test_a_refit_without_its_parent_is_from_scratch(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    second = pipeline.begin(shop.settings, night(25))
    for stage in pipeline.STAGES[: pipeline.STAGES.index("refit")]:
        pipeline.run_stage(shop.settings, second.run_id, stage)
    run_folder(first).remove("refit")
    second = pipeline.run_night(shop.settings, night(25))
    assert (second.status, second.warm_nights) == ("stored", 1)
    refit, best_epoch = found(second, "refit"), found(first, "train")["best_epoch"]
    assert (refit["warm"], refit["epochs"]) == (False, best_epoch)


def test_a_backfill_is_from_scratch_unless_told(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backfill", "--config", str(shop.config), "--json"]
    for since, until, warm, parents in (
        ("2026-01-24", "2026-01-26", [], [None, None]),
        ("2026-01-26", "2026-01-28", ["--warm"], [2, 3]),
    ):
        assert cli.main([*words, "--since", since, "--until", until, *warm]) == 0
        runs = json.loads(capsys.readouterr().out)
        assert [run["parent_run_id"] for run in runs] == parents
