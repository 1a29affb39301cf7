"""The report as the pipeline writes it, after a good night and after a failed one."""

from __future__ import annotations

from pathlib import Path

import pytest

import shop as shops
from recjobs import pipeline
from recjobs.errors import CheckFailedError
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
