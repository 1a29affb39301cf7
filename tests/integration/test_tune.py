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
from recjobs.runs import RunStore
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


def test_trials_need_a_local_folder(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--folder", "s3://bucket/tune"]) == 2
    assert "a local folder" in capsys.readouterr().err
