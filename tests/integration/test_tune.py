"""`recjobs tune` on a shop: the data of a run, made for the purpose or there already."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import shop as shops
from recjobs import pipeline
from recjobs.cli import main
from recjobs.errors import DataError
from recjobs.progress import unwatched
from recjobs.runs import RunStore, run_folder
from recjobs.tune.snapshot import snapshot
from shop import Shop


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop = shops.open_shop(database, tmp_path, monkeypatch)
    monkeypatch.setenv("RECJOBS_CONFIG", str(shop.config))
    return shop


def test_tunes_before_a_night_and_the_night_goes_on_from_there(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune"]) == 2
    assert "no run has a snapshot to read" in capsys.readouterr().err

    words = ["tune", "--as-of", "2026-01-25", "--trials", "3", "--json"]
    assert main([*words, "--output", str(tmp_path / "best.toml")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["trials"]) == 3
    assert found["best"] >= found["before"]
    assert Path(found["journal"]).parent == tmp_path / "artifacts" / "tune"
    section = tomllib.loads((tmp_path / "best.toml").read_text())["model"]
    assert section == {"name": "ease", **({"params": found["params"]} if found["params"] else {})}

    assert main(["run", "--as-of", "2026-01-25", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert (run["run_id"], run["status"]) == (found["run_id"], "stored")
    assert not run["dry_run"]

    assert main(["tune", "--trials", "1", "--model", "popular", "--folds", "1"]) == 0
    printed = capsys.readouterr()
    assert tomllib.loads(printed.out)["model"]["name"] == "popular"
    assert "trial 0: ndcg@10" in printed.err
    assert "the same command goes on" in printed.err
    assert main(["tune", "--run", "999"]) == 2
    assert main(["tune", "--trials", "1", "--output", str(shop.config)]) == 2  # the job's settings
    assert main(["tune", "--trials", "1", "--output", str(tmp_path / "best.toml")]) == 0


def test_a_night_that_is_to_publish_is_not_made_dry(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    run = pipeline.begin(shop.settings, shops.night(24))
    assert main(["tune", "--as-of", "2026-01-25"]) == 2
    assert "Finish it first" in capsys.readouterr().err
    assert not RunStore.of(shop.settings).get(run.run_id).dry_run


def test_a_run_whose_files_can_not_be_read_is_passed_over(
    shop: Shop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert main(["run", "--as-of", "2026-01-25"]) == 0
    (log,) = tmp_path.glob("artifacts/shop-*/run-1/index/users.parquet")
    log.write_bytes(b"as an older version wrote it")
    assert main(["tune", "--trials", "1"]) == 2
    assert "run 1 can't be read any more" in caplog.text
    assert "no run has a snapshot to read" in capsys.readouterr().err
    with pytest.raises(DataError, match="not what stage index wrote"):
        snapshot(shop.settings, as_of=None, run_id=1, watch=unwatched)


@pytest.mark.parametrize("held", [False, True])
def test_the_data_of_a_finished_night_is_extracted_anew_where_its_files_are_gone(
    shop: Shop, capsys: pytest.CaptureFixture[str], held: bool
) -> None:
    if held:  # what was learned before the holdout is no longer true in it
        pipeline.run_night(shop.settings, shops.night(20))
        shop.execute(
            "update app.clicks set item_id = 1000 + (item_id - 980) % 120"
            f" where clicked_at >= '{shops.night(20)}'"
        )
    assert main(["run", "--as-of", "2026-01-25"]) == (4 if held else 0)
    store = RunStore.of(shop.settings)
    night = store.latest(1)[0]
    assert night.status == ("held" if held else "stored")
    live = store.live()
    run_folder(night).remove()
    capsys.readouterr()

    words = ["tune", "--as-of", "2026-01-25", "--trials", "1", "--folds", "1", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    made = store.get(found["run_id"])
    assert (made.supersedes, made.dry_run) == (night.run_id, True)
    assert main(words) == 0  # and is read from there from now on
    assert json.loads(capsys.readouterr().out)["run_id"] == made.run_id
    assert store.live() == live


@pytest.mark.parametrize("what", ["a folder", "in no folder", "no text"])
def test_an_output_that_can_not_be_written_is_refused_before_a_trial(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    output = {
        "a folder": tmp_path, "in no folder": tmp_path / "gone" / "best.toml",
        "no text": tmp_path / "bytes",
    }[what]  # fmt: skip
    assert main(["tune", "--as-of", "2026-01-25", "--output", str(output)]) == 2
    told = capsys.readouterr().err
    assert ("name another file" if what == "no text" else f"{output} can't be written") in told
    assert RunStore.of(shop.settings).latest(1) == []


def test_trials_need_a_local_folder(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--folder", "s3://bucket/tune"]) == 2
    assert "a local folder" in capsys.readouterr().err
