"""Whole nights against a real Postgres: in a row, twice, killed, poisoned, rolled back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import shop as shops
from recjobs import live, pipeline, records, runs, stages, version
from recjobs.artifacts import RunFolder
from recjobs.dataset import Interactions
from recjobs.errors import CheckFailedError, ConfigError, GateError, LeaseHeldError
from recjobs.files import read_json
from recjobs.pointer import Job
from recjobs.promote import promote
from recjobs.runs import Run, RunStore, run_folder
from servers import Server
from shop import Shop, night


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return shops.open_shop(database, tmp_path, monkeypatch)


def lists(run: Run) -> dict[str, bytes]:
    """The bytes of everything that decides what readers get."""
    folder = run_folder(run)
    files = {
        "index": (
            *Interactions.FILES,
            "split.npz",
            "item_features.parquet",
            "user_features.parquet",
        ),
        "score": ("lists.parquet", "popular.parquet", "similar.parquet"),
    }
    return {n: folder.path(s, n).read_bytes() for s, names in files.items() for n in names}


def served(shop: Shop) -> list[tuple[object, ...]]:
    return shop.execute(
        "select user_id, rank, item_id, score, source, run_id from recs.recommendations"
        " order by user_id, rank"
    )


def poison(shop: Shop, before: datetime) -> None:
    """Shuffle the labels of what came before: who clicked what becomes chance.

    What comes after, the holdout, stays true: the baselines learn from the same poison, so it is
    the champion, which learned from the truth, that tells.
    """
    shop.execute(
        "create table app.true_clicks as table app.clicks;"
        "with old as (select ctid, item_id from app.clicks"
        f"   where clicked_at < '{before.isoformat()}'),"
        " a as (select ctid, row_number() over (order by ctid) n from old),"
        " b as (select item_id, row_number() over (order by md5(ctid::text)) n from old)"
        " update app.clicks c set item_id = b.item_id from a join b using (n) where c.ctid = a.ctid"
    )


def mislead(shop: Shop, since: datetime) -> None:
    """Let everyone's taste turn: a model of the past is then worse than popularity."""
    shop.execute(
        "update app.clicks set item_id = 1000 + (item_id - 1000 + 20) % 120"
        f" where clicked_at >= '{since.isoformat()}'"
    )


def cure(shop: Shop) -> None:
    shop.execute("truncate app.clicks; insert into app.clicks table app.true_clicks")


def test_two_nights_in_a_row(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    assert (first.status, first.decision, first.champion_run_id) == ("stored", "promote", None)
    assert {row[5] for row in served(shop)} == {first.run_id}

    second = pipeline.run_night(shop.settings, night(25))
    assert (second.status, second.champion_run_id) == ("stored", first.run_id)
    rows = served(shop)
    assert {row[5] for row in rows} == {second.run_id}
    users = shop.execute("select count(distinct user_id) from app.clicks")[0][0]
    assert len(rows) == users * shop.settings.score.n
    seen = shop.execute(
        "select count(*) from recs.recommendations r join app.clicks c"
        f" using (user_id, item_id) where c.clicked_at < '{night(25)}'"
    )
    assert seen == [(0,)]


def test_the_same_key_returns_the_finished_run(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    again = pipeline.run_night(shop.settings, night(24))
    assert again.run_id == first.run_id
    assert shop.execute("select count(*) from recs.run") == [(1,)]


def test_fresh_on_unchanged_data_gives_identical_lists(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    fresh = pipeline.run_night(shop.settings, night(24), fresh=True)
    assert fresh.supersedes == first.run_id
    assert fresh.snapshot_digest == first.snapshot_digest
    assert lists(fresh) == lists(first)
    assert {row[5] for row in served(shop)} == {fresh.run_id}


def test_rows_at_or_after_as_of_change_nothing(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    shop.execute(
        f"insert into app.clicks select user_id, 1000 + (random() * 119)::int, '{night(24)}'"
        " from app.clicks;"
        f"insert into app.clicks values (999999, 1001, '{night(26)}')"
    )
    fresh = pipeline.run_night(shop.settings, night(24), fresh=True)
    assert lists(fresh) == lists(first)


def test_late_rows_enter_only_with_fresh(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    shop.execute(f"insert into app.clicks values (1, 1119, '{night(3)}')")
    assert pipeline.run_night(shop.settings, night(24)).run_id == first.run_id
    fresh = pipeline.run_night(shop.settings, night(24), fresh=True)
    assert fresh.counts["rows"] == first.counts["rows"] + 1


def test_a_poisoned_night_is_held_and_changes_nothing(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    before = served(shop)
    poison(shop, night(21))
    with pytest.raises(GateError, match="is held"):
        pipeline.run_night(shop.settings, night(25))
    assert served(shop) == before
    held = RunStore.of(shop.settings).latest(1)[0]
    assert (held.status, held.decision) == ("held", "hold")
    assert run_folder(held).finished("report")
    assert not run_folder(held).finished("refit")

    with pytest.raises(GateError, match="is held"):  # the same key: returned as it is
        pipeline.run_night(shop.settings, night(25))
    cure(shop)
    third = pipeline.run_night(shop.settings, night(26))
    assert third.champion_run_id == first.run_id


def test_a_held_first_night_publishes_popular_lists(shop: Shop) -> None:
    mislead(shop, night(20))
    with pytest.raises(GateError, match="popularity lists were published"):
        pipeline.run_night(shop.settings, night(24))
    assert {row[4] for row in served(shop)} == {"popular"}

    first = RunStore.of(shop.settings).latest(1)[0]
    page = run_folder(first).path("report", "report.html").read_text()
    assert "recjobs run --as-of 2026-01-25 --fresh --dry-run" in page
    assert f"recjobs promote {first.run_id}" not in page
    with pytest.raises(ConfigError, match="--fresh --dry-run, then promote that run"):
        promote(shop.settings, first.run_id, why="a drill", by="me")
    assert {row[4] for row in served(shop)} == {"popular"}
    with pytest.raises(GateError):
        pipeline.run_night(shop.settings, night(24), fresh=True, dry_run=True)
    held = RunStore.of(shop.settings).latest(1)[0]
    promote(shop.settings, held.run_id, why="a drill", by="me")
    assert {row[4] for row in served(shop)} == {"ease"}


def test_popularity_lists_do_not_replace_a_models(shop: Shop) -> None:
    mislead(shop, night(20))
    with pytest.raises(GateError):
        pipeline.run_night(shop.settings, night(24), dry_run=True)  # nothing is live: popularity
    lenient = shop.settings.with_overrides({"gate.min_lift_over_popular": -1.0})
    live = pipeline.run_night(lenient, night(23))
    assert {row[4] for row in served(shop)} == {"ease"}
    with pytest.raises(GateError, match="is held, nothing changed") as told:
        pipeline.run_night(shop.settings, night(24))  # goes on from the dry run
    assert "nothing is live" not in str(told.value)
    assert {row[5] for row in served(shop)} == {live.run_id}
    held = RunStore.of(shop.settings).latest(2)[1]
    assert (held.status, held.decision, held.published_source) == ("held", "hold", None)
    page = run_folder(held).path("report", "report.html").read_text()
    assert f"recjobs promote {held.run_id}" in page
    promote(shop.settings, held.run_id, why="a drill", by="me")
    assert {(row[4], row[5]) for row in served(shop)} == {("ease", held.run_id)}


def test_popularity_lists_on_their_way_do_not_replace_a_models(shop: Shop) -> None:
    mislead(shop, night(20))
    run = pipeline.begin(shop.settings, night(24))
    for stage in pipeline.STAGES[: pipeline.STAGES.index("publish")]:
        pipeline.run_stage(shop.settings, run.run_id, stage)
    RunStore.of(shop.settings).release(run.run_id)
    lenient = shop.settings.with_overrides({"gate.min_lift_over_popular": -1.0})
    live = pipeline.run_night(lenient, night(23))
    pipeline.run_stage(shop.settings, run.run_id, "publish")  # as a scheduler goes on
    with pytest.raises(GateError, match="is held, nothing changed"):
        pipeline.verdict(shop.settings, run.run_id)
    assert {row[5] for row in served(shop)} == {live.run_id}
    why = str(RunStore.of(shop.settings).get(run.run_id).why_not_live)
    assert "popularity must not replace" in why


@pytest.mark.parametrize("archive_days", [90, 0])
def test_a_held_run_can_be_promoted_by_name(shop: Shop, archive_days: int) -> None:
    settings = shop.settings.with_overrides({"publish.archive_days": archive_days})
    pipeline.run_night(settings, night(24))
    poison(shop, night(21))
    with pytest.raises(GateError):
        pipeline.run_night(settings, night(25))
    held = RunStore.of(settings).latest(1)[0]
    promoted = promote(settings, held.run_id, why="a drill", by="me")
    assert promoted.status == "stored"
    assert {row[5] for row in served(shop)} == {held.run_id}
    newest, before = RunStore.of(settings).publications(2)
    assert (newest["run_id"], before["kind"]) == (held.run_id, "publish")
    assert (newest["kind"], newest["decided_by"], newest["why"]) == ("promote", "me", "a drill")
    page = run_folder(held).path("report", "report.html").read_text()
    assert "Readers see this run's lists." in page.replace("&#39;", "'")


def test_a_run_does_not_go_live_over_the_one_that_superseded_it(shop: Shop) -> None:
    settings, store = shop.settings, RunStore.of(shop.settings)
    first = pipeline.begin(settings, night(24))
    for stage in pipeline.STAGES[: pipeline.STAGES.index("publish")]:
        pipeline.run_stage(settings, first.run_id, stage)
    store.release(first.run_id)
    fresh = pipeline.run_night(settings, night(24), fresh=True)
    assert fresh.supersedes == first.run_id
    pipeline.run_stage(settings, first.run_id, "publish")
    assert {row[5] for row in served(shop)} == {fresh.run_id}
    why = str(store.get(first.run_id).why_not_live)
    assert f"run {fresh.run_id}, which superseded it, has been live" in why


def test_an_older_night_is_stored_not_live(shop: Shop) -> None:
    newer = pipeline.run_night(shop.settings, night(25))
    older = pipeline.run_night(shop.settings, night(24))
    assert older.status == "stored"
    assert newer.why_not_live is None
    assert "has been live: it needs `promote`" in str(older.why_not_live)
    assert {row[5] for row in served(shop)} == {newer.run_id}
    stored = shop.execute(
        f"select count(*) from recs.recommendations_history where run_id = {older.run_id}"
    )
    assert stored[0][0] > 0

    promote(shop.settings, older.run_id, why="the newer one is wrong", by="me")
    assert {row[5] for row in served(shop)} == {older.run_id}


def test_a_rolled_back_run_does_not_return(shop: Shop) -> None:
    settings = shop.settings
    first = pipeline.run_night(settings, night(24))
    second = pipeline.run_night(settings, night(25))
    live.rollback(Job.of(settings), pin=False, by="me", why="a drill")
    assert {row[5] for row in served(shop)} == {first.run_id}
    pipeline.run_night(settings, night(25), fresh=False)
    assert {row[5] for row in served(shop)} == {first.run_id}
    third = pipeline.run_night(settings, night(26))
    assert {row[5] for row in served(shop)} == {third.run_id} != {second.run_id}
    assert (third.reference_run_id, third.champion_run_id) == (first.run_id, second.run_id)


def test_a_pin_stops_later_promotions(shop: Shop) -> None:
    settings = shop.settings
    first = pipeline.run_night(settings, night(24))
    pipeline.run_night(settings, night(25))
    live.rollback(Job.of(settings), pin=True, by="me", why="a drill")
    pipeline.run_night(settings, night(26))
    assert {row[5] for row in served(shop)} == {first.run_id}
    live.unpin(Job.of(settings))
    fourth = pipeline.run_night(settings, night(27))
    assert {row[5] for row in served(shop)} == {fourth.run_id}


def test_a_dry_run_touches_no_published_table_and_can_be_finished(shop: Shop) -> None:
    dry = pipeline.run_night(shop.settings, night(24), dry_run=True)
    assert dry.status == "dry_run"
    assert served(shop) == []
    assert shop.execute("select count(*) from recs.top_n_list") == [(0,)]
    wet = pipeline.run_night(shop.settings, night(24))
    assert (wet.run_id, wet.status) == (dry.run_id, "stored")
    assert len(served(shop)) > 0


def test_a_dry_run_does_not_take_over_a_night_that_is_to_publish(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setitem(stages.WORK, "train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.run_night(shop.settings, night(24))
    with pytest.raises(ConfigError, match=r"run 1, .* has not finished \(failed\): as a dry run"):
        pipeline.run_night(shop.settings, night(24), dry_run=True)
    failed = RunStore.of(shop.settings).get(1)
    assert (failed.status, failed.dry_run) == ("failed", False)
    assert pipeline.run_night(shop.settings, night(24), fresh=True, dry_run=True).run_id == 2
    pipeline.run_stages(shop.settings, failed.run_id)  # as a cleared task of the scheduler's does
    assert {row[5] for row in served(shop)} == {failed.run_id}


def test_a_night_made_before_its_instant_is_made_anew_once_that_has_come(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    early = pipeline.run_night(shop.settings, night(24), dry_run=True)
    shop.execute(
        "update recs.run set started_at = as_of - interval '1 hour';"
        "insert into app.clicks select 1, item_id, timestamptz '2026-01-24 23:30Z' from app.items"
    )
    run = pipeline.run_night(shop.settings, night(24))
    assert (run.supersedes, run.dry_run, run.why_not_live) == (early.run_id, False, None)
    assert run.counts["extracted"] > early.counts["extracted"]
    assert f"run {early.run_id} was opened before its as_of" in caplog.text
    assert 1 not in {row[0] for row in served(shop)}  # has seen all
    assert pipeline.run_night(shop.settings, night(24)).run_id == run.run_id


def test_an_overridden_run_needs_promote(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    other = pipeline.run_night(shop.settings, night(25), overrides={"model.name": "item_knn"})
    assert (other.model, other.status) == ("item_knn", "stored")
    assert {row[5] for row in served(shop)} == {first.run_id}
    promote(shop.settings, other.run_id, why="better", by="me")
    assert {row[5] for row in served(shop)} == {other.run_id}


def test_a_failed_expectation_stops_the_night(shop: Shop) -> None:
    pipeline.run_night(shop.settings, night(24))
    before = served(shop)
    shop.execute(f"delete from app.clicks where clicked_at >= '{night(5)}'")
    with pytest.raises(CheckFailedError, match="volume"):
        pipeline.run_night(shop.settings, night(25))
    assert served(shop) == before
    failed = RunStore.of(shop.settings).latest(1)[0]
    assert (failed.status, failed.stage) == ("failed", "validate")
    assert run_folder(failed).finished("report")
    outcome = shop.execute(
        f"select passed from recs.check_result where run_id = {failed.run_id} and name = 'volume'"
    )
    assert outcome == [(False,)]


def test_a_stage_alone_does_not_get_past_a_failed_check(shop: Shop) -> None:
    strict = '[check]\ncoverage = "stop"\nmin_coverage = 1.0\n[score]\nn = 1\n'
    shop.config.write_text(shop.config.read_text() + strict)
    with pytest.raises(CheckFailedError, match="coverage"):
        pipeline.run_night(shop.settings, night(24))
    run = RunStore.of(shop.settings).latest(1)[0]
    assert (run.status, run.stage) == ("failed", "check")
    with pytest.raises(CheckFailedError, match="coverage"):
        pipeline.run_stage(shop.settings, run.run_id, "publish")
    assert served(shop) == []


def test_a_stage_does_not_run_before_those_it_needs(shop: Shop) -> None:
    run = pipeline.begin(shop.settings, night(24))
    with pytest.raises(ConfigError, match="stage extract has not finished"):
        pipeline.run_stage(shop.settings, run.run_id, "train")


def test_nothing_available_is_not_published(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    shop.execute("alter table app.items add ok boolean default false")
    text = shop.config.read_text().replace('title = "title"', 'title = "title"\navailable = "ok"')
    shop.config.write_text(text)
    with pytest.raises(GateError, match="look at the candidates"):
        pipeline.run_night(shop.settings, night(25))
    assert {row[5] for row in served(shop)} == {first.run_id}


def test_nobody_eligible_is_not_published(shop: Shop) -> None:
    pipeline.run_night(shop.settings, night(24))
    before = served(shop)
    shop.execute(
        "create table app.users as select distinct user_id, false as active from app.clicks"
    )
    users = '[source.users]\ntable = "app.users"\nactive = "active"\n[target]'
    shop.config.write_text(shop.config.read_text().replace("[target]", users))
    with pytest.raises(CheckFailedError, match="no user is eligible"):
        pipeline.run_night(shop.settings, night(25))
    assert served(shop) == before


def test_a_night_without_interactions_is_told_so(shop: Shop) -> None:
    shop.execute("create table app.users as select distinct user_id from app.clicks")
    users = '[source.users]\ntable = "app.users"\n[target]'
    shop.config.write_text(shop.config.read_text().replace("[target]", users))
    with pytest.raises(
        CheckFailedError, match=r"validate.too_few: 0 interactions.* as_of is right"
    ):
        pipeline.run_night(shop.settings, night(-30))


def test_an_item_that_was_deleted_from_the_catalogue_is_recommended_no_more(shop: Shop) -> None:
    text = shop.config.read_text()
    shop.execute("alter table app.items add ok boolean default true")
    popular = "select item_id from app.clicks group by 1 order by count(*) desc limit 20"
    shop.execute(f"delete from app.items where item_id in ({popular})")
    run = pipeline.run_night(shop.settings, night(24))
    shown = "select count(*) from recs.recommendations where item_id not in"
    assert shop.execute(f"{shown} (select item_id from app.items)") > [(0,)]  # it only describes
    for availability in ('available = "ok"', 'available_sql = "ok"'):
        shop.config.write_text(text.replace('title = "title"', f'title = "title"\n{availability}'))
        later = pipeline.run_night(shop.settings, night(25), fresh=True)
        assert later.run_id > run.run_id
        assert {row[5] for row in served(shop)} == {later.run_id}
        assert shop.execute(f"{shown} (select item_id from app.items)") == [(0,)]


@pytest.mark.parametrize("files", [True, False])
def test_a_users_table_that_lost_its_rows_is_not_published(shop: Shop, files: bool) -> None:
    shop.execute("create table app.users as select distinct user_id from app.clicks")
    users = '[source.users]\ntable = "app.users"\n[target]'
    shop.config.write_text(shop.config.read_text().replace("[target]", users))
    first = pipeline.run_night(shop.settings, night(24))
    if not files:
        run_folder(first).remove()
    before = served(shop)
    shop.execute("delete from app.users where user_id > 1")
    with pytest.raises(
        CheckFailedError, match=r"check.lost_lists: 1 lists, against 240 of the ref"
    ):
        pipeline.run_night(shop.settings, night(25))
    assert served(shop) == before
    failed = run_folder(RunStore.of(shop.settings).latest(1)[0])
    assert "lost_lists" in failed.path("report", "report.html").read_text()


def test_damaged_lists_of_the_live_run_stop_no_night(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    run_folder(first).path("score", "lists.parquet").unlink()
    second = pipeline.run_night(shop.settings, night(25))
    assert (second.status, second.reference_run_id) == ("stored", first.run_id)
    assert {row[5] for row in served(shop)} == {second.run_id}
    assert f"run {first.run_id} can't be read any more" in caplog.text
    page = run_folder(second).path("report", "report.html").read_text().replace("&#39;", "'")
    assert f"run {first.run_id} can't be compared" in page


def test_two_jobs_in_one_artifact_folder_keep_apart(shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    other = shop.settings.with_overrides({"job.schema": "other", "score.n": 5})
    shops.migrate.migrate(other)
    second = pipeline.run_night(other, night(24))
    assert first.run_id == second.run_id == 1
    counts = shop.execute("select count(*) from other.recommendations")
    assert counts == [(len(served(shop)) // 2,)]


def test_a_night_far_ahead_is_refused(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="expected tomorrow at the latest"):
        pipeline.run_night(shop.settings, datetime(2999, 1, 1, tzinfo=UTC))


def test_where_things_are_is_not_overridden(shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"Received: job\.schema"):
        pipeline.run_night(shop.settings, night(24), overrides={"job.schema": "elsewhere"})


def test_a_promotion_waits_for_the_lease_and_can_go_on(shop: Shop) -> None:
    pipeline.run_night(shop.settings, night(24))
    poison(shop, night(21))
    with pytest.raises(GateError):
        pipeline.run_night(shop.settings, night(25))
    held = RunStore.of(shop.settings).latest(1)[0]
    working = pipeline.begin(shop.settings, night(26))
    with pytest.raises(LeaseHeldError):
        promote(shop.settings, held.run_id, why="a drill", by="me")
    store = RunStore.of(shop.settings)
    assert store.get(held.run_id).status == "held"
    store.release(working.run_id)

    run_folder(held).remove("train")
    with pytest.raises(ConfigError, match="stage train has not finished"):
        promote(shop.settings, held.run_id, why="a drill", by="me")
    assert store.get(held.run_id).status == "held"


@pytest.mark.parametrize(
    ("cause", "message"),
    [("settings", "other settings"), ("code", r"this is 9\.9\.9"), ("pin", "pinned by me")],
)
def test_a_promotion_that_is_refused_overrules_no_gate(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, cause: str, message: str
) -> None:
    settings, store = shop.settings, RunStore.of(shop.settings)
    pipeline.run_night(settings, night(23))
    pipeline.run_night(settings, night(24))
    poison(shop, night(21))
    with pytest.raises(GateError):
        pipeline.run_night(settings, night(25))
    held = store.latest(1)[0]
    if cause == "pin":
        live.rollback(Job.of(settings), pin=True, by="me", why="a drill")
    with monkeypatch.context() as other:
        if cause == "code":
            other.setattr(version, "code_version", lambda: "9.9.9+later")
        changed = {"gate.min_users": 50} if cause == "settings" else {}
        with pytest.raises(ConfigError, match=message):
            promote(settings.with_overrides(changed), held.run_id, why="a drill", by="me")
    assert store.get(held.run_id) == held
    with pytest.raises(GateError, match="is held"):
        pipeline.run_night(settings, night(25))


def test_a_retry_that_goes_well_leaves_no_error(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, store = pipeline.begin(shop.settings, night(24)), RunStore.of(shop.settings)
    *before, last = pipeline.STAGES[: pipeline.STAGES.index("report")]
    for stage in before:
        pipeline.run_stage(shop.settings, run.run_id, stage)
    with monkeypatch.context() as broken:
        broken.setitem(records.RECORD, last, lambda *_: 1 / 0)  # committed, and not recorded
        with pytest.raises(ZeroDivisionError):
            pipeline.run_stage(shop.settings, run.run_id, last)
    assert store.get(run.run_id).error == "ZeroDivisionError: division by zero"
    assert pipeline.run_stage(shop.settings, run.run_id, last) == "reused"
    ended = store.get(run.run_id)
    assert (ended.status, ended.error) == ("stored", None)


def test_a_schedulers_time_limit_is_recorded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    class TaskTimeout(BaseException):
        """As Airflow's: no Exception."""

    def slow(*_: object) -> None:
        raise TaskTimeout("7200 s")

    run = pipeline.begin(shop.settings, night(24))
    monkeypatch.setitem(stages.WORK, "extract", slow)
    with pytest.raises(TaskTimeout):
        pipeline.run_stage(shop.settings, run.run_id, "extract")
    failed = RunStore.of(shop.settings).get(run.run_id)
    assert (failed.status, failed.stage) == ("failed", "extract")
    assert failed.error == "TaskTimeout: 7200 s"


def test_a_defect_is_recorded_without_the_password(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("postgresql://me:hunter2@db/shop")

    monkeypatch.setitem(stages.WORK, "train", broken)
    with pytest.raises(KeyError):
        pipeline.run_night(shop.settings, night(24))
    run = RunStore.of(shop.settings).latest(1)[0]
    assert (run.status, run.stage) == ("failed", "train")
    assert "hunter2" not in (run.error or "")


def test_what_goes_wrong_before_a_stage_is_recorded_too(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = pipeline.begin(shop.settings, night(24))
    with monkeypatch.context() as upgraded:
        upgraded.setattr(version, "code_version", lambda: "9.9.9+later")
        with pytest.raises(ConfigError, match=r"this is 9\.9\.9"):
            pipeline.run_stage(shop.settings, run.run_id, "extract")
    failed = RunStore.of(shop.settings).get(run.run_id)
    assert (failed.status, failed.stage) == ("failed", "extract")
    with pytest.raises(ConfigError, match="failed in stage extract"):
        pipeline.verdict(shop.settings, run.run_id)

    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    elsewhere = shop.settings.with_overrides({"artifacts.root": str(blocked)})
    with pytest.raises(ConfigError, match=rf"artifacts\.root: {blocked}.* can't be written"):
        pipeline.run_night(elsewhere, night(24))
    # Nothing of it was done yet: with the right folder it begins there.
    assert pipeline.run_night(shop.settings, night(24)).run_id == run.run_id


def test_a_run_does_not_change_its_folder_half_way(shop: Shop, tmp_path: Path) -> None:
    run = pipeline.begin(shop.settings, night(24))
    pipeline.run_stage(shop.settings, run.run_id, "extract")
    elsewhere = shop.settings.with_overrides({"artifacts.root": str(tmp_path / "other")})
    with pytest.raises(ConfigError, match=r"artifacts\.root is .*other: put it back"):
        pipeline.begin(elsewhere, night(24))
    assert pipeline.run_night(shop.settings, night(24)).run_id == run.run_id


def test_old_files_go_and_those_that_are_needed_stay(shop: Shop) -> None:
    settings = shop.settings.with_overrides({"artifacts.keep_runs": 1, "publish.attached": 2})
    store = RunStore.of(settings)
    older = [pipeline.run_night(settings, night(day)) for day in (23, 24)]
    backfilled = pipeline.run_night(settings, night(22))  # archived: it never was live
    poison(shop, night(21))
    with pytest.raises(GateError):
        pipeline.run_night(settings, night(25))
    held = store.latest(1)[0]
    cure(shop)
    last = pipeline.run_night(settings, night(24), fresh=True)
    kept = {run.run_id for run in store.latest(9) if run_folder(run).finished("extract")}
    assert kept == {older[1].run_id, held.run_id, last.run_id}
    assert backfilled.run_id not in kept
    # What is finished is returned as it is, though its files are gone.
    assert pipeline.run_night(settings, night(22)).run_id == backfilled.run_id


def test_a_schema_holds_the_runs_of_one_job(shop: Shop) -> None:
    pipeline.begin(shop.settings, night(24))
    other = shop.settings.with_overrides({"job.name": "other"})
    with pytest.raises(ConfigError, match="schema recs holds the runs of job 'shop'"):
        pipeline.begin(other, night(25))


def test_lists_are_judged_and_published_as_they_are_re_ranked(shop: Shop) -> None:
    plain = pipeline.run_night(shop.settings, night(24))
    settings = shop.settings.with_overrides({"rerank.popularity": 0.5, "gate.max_drop": 0.9})
    run = pipeline.run_night(settings, night(25))
    assert (run.status, run.why_not_live) == ("stored", None)
    folder = run_folder(run)
    points = read_json(folder.path("evaluate", "tradeoff.json"))
    rarer = {point["strength"]: point["mean_popularity"] for point in points}
    assert rarer[2.0] < rarer[1.0] < rarer[0.0]
    judged = folder.manifest("evaluate").summary["metrics"]["ease"]["ndcg@10"]
    assert judged == pytest.approx(next(p["ndcg@10"] for p in points if p["strength"] == 1))
    page = folder.path("report", "report.html").read_text()
    assert "Accuracy against what re-ranking is for" in page
    assert "tradeoff.json" not in run_folder(plain).manifest("evaluate").files


def test_the_champion_is_re_ranked_as_tonights_lists_are(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute(
        "alter table app.items add kind text;"
        "update app.items set kind = 'group ' || (item_id - 1000) / 20"
    )
    monkeypatch.setenv("RECJOBS__SOURCE__ITEMS__CATEGORIES", '["kind"]')
    monkeypatch.setenv("RECJOBS__RERANK__DIVERSITY", "1")
    first = pipeline.run_night(shop.settings, night(24))
    second = pipeline.run_night(shop.settings, night(25))
    assert second.champion_run_id == first.run_id
    # The same model on a day more: where one alone were re-ranked, they would be far apart.
    judged = run_folder(second).manifest("evaluate").summary["metrics"]
    plain = shop.settings.with_overrides({"rerank.diversity": 0})
    without = run_folder(pipeline.run_night(plain, night(25))).manifest("evaluate").summary
    cost = without["metrics"]["ease"]["ndcg@10"] - judged["ease"]["ndcg@10"]
    apart = judged["champion"]["ndcg@10"] - judged["ease"]["ndcg@10"]
    assert abs(apart) < abs(cost) / 2


def test_a_live_model_that_this_code_does_not_know_stops_no_night(shop: Shop) -> None:
    pipeline.run_night(shop.settings, night(24))
    shop.execute("update recs.run set model = 'brand_new'")
    second = pipeline.run_night(shop.settings, night(25))
    assert (second.status, second.champion_run_id) == ("stored", None)
    page = run_folder(second).path("report", "report.html").read_text()
    assert "be read any more: " in page


def test_a_backlog_of_old_files_goes_night_by_night(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_PRUNED", 2)
    settings = shop.settings.with_overrides({"artifacts.keep_runs": 3, "publish.attached": 2})
    older = [pipeline.run_night(settings, night(day)) for day in (23, 20, 21)]
    settings = shop.settings.with_overrides({"artifacts.keep_runs": 1, "publish.attached": 2})
    newer = [pipeline.run_night(settings, night(day)) for day in (24, 25, 26)]
    assert not any(run_folder(run).finished("extract") for run in (*older, newer[0]))
    found = shop.execute("select run_id from recs.run where files_removed_at is null order by 1")
    assert found == [(run.run_id,) for run in newer[1:]]


def test_runs_that_had_to_wait_push_nobodys_files_out(shop: Shop) -> None:
    settings = shop.settings.with_overrides({"artifacts.keep_runs": 2})
    dry = pipeline.run_night(settings, night(23), dry_run=True)
    working = pipeline.begin(settings, night(24))
    for fresh in (True, True, False):
        with pytest.raises(LeaseHeldError):
            pipeline.begin(settings, night(26), fresh=fresh)
    # The plain one is found again by the same command; nobody would find the fresh ones.
    rows = shop.execute("select as_of, fresh from recs.run where timings = '{}'")
    assert sorted(rows) == [(night(24), False), (night(26), False)]
    # What another call opened fresh is not this one's to remove.
    theirs = RunStore.of(settings)
    shop.execute("update recs.run set fresh = true where timings = '{}' and not fresh")
    with pytest.raises(LeaseHeldError):
        pipeline.begin(settings, night(26))
    assert theirs.get(max(run_id for (run_id,) in shop.execute("select run_id from recs.run")))
    pipeline.run_stages(settings, working.run_id)
    assert run_folder(dry).finished("train")

    pipeline.run_night(settings.with_overrides({"artifacts.keep_runs": 1}), night(25))
    with pytest.raises(ConfigError, match=r"removed to make room.*again with --fresh"):
        promote(settings, dry.run_id, why="a drill", by="me")


def test_a_backfill_keeps_its_own_files_however_many_came_after(shop: Shop) -> None:
    settings = shop.settings.with_overrides({"artifacts.keep_runs": 1, "publish.attached": 2})
    store = RunStore.of(settings)
    waiting = pipeline.begin(settings, night(22))
    store.release(waiting.run_id)
    for day in (23, 24):
        pipeline.run_night(settings, night(day))
    backfilled = pipeline.run_night(settings, night(22))
    assert backfilled.run_id == waiting.run_id
    assert run_folder(backfilled).finished("report")


def test_fresh_reads_again_what_earlier_nights_have_kept(shop: Shop) -> None:
    settings = shop.settings.with_overrides({"source.full_every": 9})
    pipeline.run_night(settings, night(24))
    shop.execute("update app.clicks set item_id = 1000 where clicked_at < '2026-01-03'")
    again = pipeline.run_night(settings, night(25), fresh=True)
    assert again.supersedes is None
    log = pq.read_table(run_folder(again).path("extract", "interactions.parquet"))
    early = log.filter(pc.less(log["ts"], pa.scalar(night(2), log["ts"].type)))
    assert set(early["item_id"].to_pylist()) == {1000}


def test_what_a_late_stage_would_refuse_is_refused_before_the_first(shop: Shop) -> None:
    wrong = {
        "evaluate.baselines": (["popular", "poplar"], "did you mean 'popular'"),
        "rerank.calibration": (0.5, "name their columns in source.items.categories"),
    }
    for key, (value, message) in wrong.items():
        with pytest.raises(ConfigError, match=message):
            pipeline.begin(shop.settings, night(24), overrides={key: value})
    assert shop.execute("select count(*) from recs.run") == [(0,)]


def test_similar_users_are_published_where_a_job_asks_for_them(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model="ials")
    settings = shop.settings.with_overrides({"score.similar_users": 5})
    pipeline.run_night(settings, night(24))
    rows = shop.execute("select user_id, rank, similar_user_id, score from recs.similar_users")
    assert len(rows) == 5 * len({row[0] for row in rows}) > 0
    assert {row[1] for row in rows} == {1, 2, 3, 4, 5}
    assert all(row[0] != row[2] for row in rows)
    same_taste = [row[0] % 6 == row[2] % 6 for row in rows]  # the shop's groups
    assert sum(same_taste) > 0.8 * len(rows)
    with pytest.raises(ConfigError, match=r"score\.similar_users: expected a model with vectors"):
        pipeline.begin(settings, night(25), overrides={"model.name": "ease"})


def test_another_model_takes_its_own_hyperparameters(shop: Shop) -> None:
    settings = shop.settings.with_overrides({"model.name": "mf", "model.params": {"epochs": 3}})
    run = pipeline.begin(settings, night(24), overrides={"model.name": "ease"})
    assert run.overrides == {"model.name": "ease", "model.params": {}}


def test_changed_settings_do_not_finish_another_runs_night(shop: Shop) -> None:
    run = pipeline.begin(shop.settings, night(24))
    other = shop.settings.with_overrides({"holdout.days": 5})
    for stage in ("extract", "report"):  # the page speaks of the settings
        with pytest.raises(ConfigError, match=r"other settings .* or to write its report"):
            pipeline.run_stage(other, run.run_id, stage)


def test_a_stage_that_lost_the_lease_leaves_the_files_of_who_took_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, own = pipeline.begin(shop.settings, night(24)), stages.WORK["extract"]

    def cut_off(*work: Any) -> None:
        own(*work)
        monkeypatch.setitem(stages.WORK, "extract", own)
        shop.execute("update recs.lease set expires_at = clock_timestamp()")
        shop.execute("insert into app.clicks select 9999, item_id, '2026-01-05' from app.items")
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
            for stage in ("extract", "validate"):
                assert pipeline.run_stage(shop.settings, run.run_id, stage) == "done"

    monkeypatch.setitem(stages.WORK, "extract", cut_off)
    with pytest.raises(LeaseHeldError, match="another process took it"):
        pipeline.run_stage(shop.settings, run.run_id, "extract")
    committed = run_folder(run).manifest("extract")
    now = RunStore.of(shop.settings).get(run.run_id)
    assert committed.host == "elsewhere"
    assert now.snapshot_digest == committed.summary["digest"]
    assert now.counts["extracted"] == committed.summary["rows"] == now.counts["rows"]
    assert (now.status, now.stage, now.error) == ("running", "validate", None)


def test_a_stage_that_lost_the_lease_while_it_committed_records_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, commit = pipeline.begin(shop.settings, night(24)), RunFolder._commit

    def slow(*args: Any) -> None:
        commit(*args)
        shop.execute("update recs.lease set holder = 'elsewhere:1'")

    monkeypatch.setattr(RunFolder, "_commit", slow)
    with pytest.raises(LeaseHeldError, match="another process took it"):
        pipeline.run_stage(shop.settings, run.run_id, "extract")
    now = RunStore.of(shop.settings).get(run.run_id)
    assert (now.snapshot_digest, now.counts, now.timings) == (None, {}, {})


def test_a_second_run_of_the_job_waits_for_the_lease(shop: Shop) -> None:
    run = pipeline.begin(shop.settings, night(24))
    with pytest.raises(LeaseHeldError, match=str(run.run_id)):
        pipeline.begin(shop.settings, night(25))
    pipeline.run_stages(shop.settings, run.run_id)
    assert pipeline.run_night(shop.settings, night(25)).status == "stored"


@pytest.mark.parametrize("stage", ["train", "score", "publish"])
def test_a_killed_night_resumes_where_it_was(shop: Shop, stage: str) -> None:
    whole = pipeline.run_night(shop.settings, night(24))
    expected = lists(whole)
    shop.execute("drop schema recs cascade")
    shops.migrate.migrate(shop.settings)

    # A process of its own, killed without warning as soon as the stage has begun.
    code = (
        "import os, signal, sys\n"
        "from recjobs import pipeline, stages\n"
        "from recjobs.config import load_settings\n"
        "from recjobs.instants import parse_as_of\n"
        "work = stages.WORK[sys.argv[2]]\n"
        "def die(night, out, progress):\n"
        "    work(night, out, progress)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "stages.WORK[sys.argv[2]] = die\n"
        "pipeline.run_night(load_settings(sys.argv[1]), parse_as_of(sys.argv[3], 'UTC'))\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", code, str(shop.config), stage, night(24).isoformat()],
        env={**os.environ, "RECJOBS__ARTIFACTS__ROOT": str(shop.config.parent / "killed")},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    settings = shop.settings.with_overrides({"artifacts.root": str(shop.config.parent / "killed")})
    run = RunStore.of(settings).latest(1)[0]
    assert run.status == "running"
    assert not run_folder(run).finished(stage)

    # The dead process's lease is the same run's: it need not expire.
    resumed = pipeline.run_night(settings, night(24))
    assert resumed.run_id == run.run_id
    assert lists(resumed) == expected
    assert {row[5] for row in served(shop)} == {run.run_id}


def test_each_stage_alone_gives_the_same_night(shop: Shop) -> None:
    whole = pipeline.run_night(shop.settings, night(24))
    fresh = pipeline.begin(shop.settings, night(24), fresh=True)
    for stage in pipeline.STAGES:
        pipeline.run_stage(shop.settings, fresh.run_id, stage)
    assert lists(fresh) == lists(whole)
    assert pipeline.run_stage(shop.settings, fresh.run_id, "score") == "reused"


def test_source_and_target_on_two_servers(
    database: str, postgres15: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres15.database() as elsewhere:
        shop = shops.open_shop(database, tmp_path, monkeypatch, target=elsewhere)
        run = pipeline.run_night(shop.settings, night(24))
        assert {row[5] for row in served(Shop(elsewhere, shop.config))} == {run.run_id}
    assert shop.execute("select to_regnamespace('recs')") == [(None,)]


@pytest.mark.parametrize("model", ["mf", "ncf"])
def test_keras_nights_are_repeatable(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model=model)
    first = pipeline.run_night(shop.settings, night(24))
    fresh = pipeline.run_night(shop.settings, night(24), fresh=True)
    assert lists(fresh) == lists(first)
    assert fresh.decision == "promote"
