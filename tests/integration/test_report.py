"""The report as the pipeline writes it, after a good night and after a failed one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import shop as shops
from recjobs import pipeline
from recjobs.errors import CheckFailedError, DatabaseError
from recjobs.runs import RunStore, run_folder
from shop import night


def test_a_good_night_and_a_failed_one(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch)
    good = pipeline.run_night(shop.settings, night(25))
    assert run_folder(good).manifest("report").summary["gaps"] == []
    page = run_folder(good).path("report", "report.html").read_text(encoding="utf-8")
    assert "Readers see this run&#39;s lists." in page
    assert "Thing &lt;10" in page
    assert "ndcg@10 over nights" in page
    assert "publish, " in page  # the row of its own publication

    shop.execute("delete from app.clicks where user_id > 60")  # far fewer rows than last night
    with pytest.raises(CheckFailedError):
        pipeline.run_night(shop.settings, night(26))
    failed = RunStore.of(shop.settings).latest(1)[0]
    page = run_folder(failed).path("report", "report.html").read_text(encoding="utf-8")
    assert "Failed in stage validate" in page
    assert f"Readers see the lists of run {good.run_id}, as before." in page
    assert "✗ stopped" in page
    assert "recjobs run --as-of 2026-01-27 --fresh" in page


def test_a_stage_whose_process_was_killed_is_told_from_one_at_work(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch)
    monkeypatch.setenv("RECJOBS__LEASE__TTL_SECONDS", "4")
    run, store = pipeline.begin(shop.settings, night(24)), RunStore.of(shop.settings)

    def page() -> str:
        pipeline.run_stage(shop.settings, run.run_id, "report")
        return run_folder(run).path("report", "report.html").read_text(encoding="utf-8")

    code = (
        "import os, signal, sys\n"
        "from recjobs import pipeline, stages\n"
        "from recjobs.config import load_settings\n"
        "stages.WORK['extract'] = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "pipeline.run_stage(load_settings(sys.argv[1]), int(sys.argv[2]), 'extract')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(shop.config), str(run.run_id)], check=False)
    assert "Stopped in stage extract" in page()
    with pytest.raises(DatabaseError, match="stopped in stage extract: its process ended without"):
        pipeline.verdict(shop.settings, run.run_id)

    with store.lease(run.run_id, "test:0", 4):
        assert "Still running: stage extract" in page()
    assert "Still running: stage extract" in page()  # between two stages
    # A stage that ended well was not killed, whether or not another follows.
    store.release(run.run_id)
    store.update(run.run_id, timings={"extract": 1.0})
    assert "Still running: stage extract" in page()
    with pytest.raises(DatabaseError, match="not finished: its last stage is extract"):
        pipeline.verdict(shop.settings, run.run_id)
