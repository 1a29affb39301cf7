"""The rows of the table ``run``: which run a key gives, and what is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import parse_dsn

from published import Job, day
from recjobs import findings
from recjobs.errors import ConfigError
from recjobs.expectations import Outcome
from recjobs.runs import Run


@pytest.fixture
def job(each_database: str, tmp_path: Path) -> Job:
    """A job with tables, on every server there is."""
    return Job(each_database, tmp_path).migrated()


def at_once(work: Callable[[], Any], count: int) -> list[Any]:
    results: list[Any] = []
    start = threading.Barrier(count)

    def one() -> None:
        start.wait()
        results.append(work())

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_new_run_says_what_it_is(job: Job) -> None:
    run = job.open(1, overrides={"score.n": 5, "a.b": [1.5, None]}, request="dag_run_1")
    assert (run.status, run.model, run.dry_run, run.request) == (
        "running",
        "mf",
        False,
        "dag_run_1",
    )
    assert run.overrides == {"score.n": 5, "a.b": [1.5, None]}
    assert run.key.as_of == day(1)
    assert run.key.as_of.tzinfo is not None
    assert (run.supersedes, run.decision, run.finished_at, run.ever_live) == (None,) * 3 + (False,)
    assert job.store.get(run.run_id) == run
    assert job.store.latest(5) == [run]


def test_times_are_in_utc_whatever_the_databases_zone(job: Job) -> None:
    name = parse_dsn(job.dsn)["dbname"]
    job.rows(f"alter database {name} set timezone = 'America/New_York'")
    assert job.rows("show timezone") == [("America/New_York",)]
    run = job.night(1)
    assert f"{run.key.as_of:%Y-%m-%d %H:%M %Z}" == "2026-01-02 00:00 UTC"
    assert {run.started_at.tzinfo, job.store.latest(1)[0].started_at.tzinfo} == {UTC}
    (publication,) = job.store.publications(1)
    assert publication["live_from"].tzinfo == UTC
    assert publication["live_until"] is None


def test_the_same_key_is_the_same_run(job: Job) -> None:
    run = job.open(1)
    assert job.open(1).run_id == run.run_id
    assert job.open(2).run_id != run.run_id
    assert job.open(1, overrides={"model.name": "ease"}).run_id != run.run_id


@pytest.mark.parametrize("status", ["failed", "dry_run", "running", "stored", "held"])
def test_a_known_run_comes_back_as_it_stands(job: Job, status: str) -> None:
    run = job.open(1, dry_run=True)
    job.store.update(run.run_id, status=status, error="DataError: none", stage="validate")
    known = job.store.get(run.run_id)
    assert (known.finished_at is None) == (status == "running")
    # It may be another process's at this moment: only the lease tells.
    assert job.open(1, dry_run=False, host="elsewhere", artifacts="/elsewhere") == known


def test_a_run_that_goes_on_is_not_finished_any_more(job: Job) -> None:
    run = job.open(1)
    job.store.update(run.run_id, status="failed", error="DataError: none")
    job.store.update(run.run_id, status="running", error=None)
    again = job.store.get(run.run_id)
    assert (again.status, again.error, again.finished_at) == ("running", None, None)


def test_a_run_opened_before_its_instant_is_superseded_once_that_has_passed(job: Job) -> None:
    first = job.open(1, request="evening")
    job.rows("update recs.run set started_at = as_of - interval '1 second'")
    assert job.open(1, request="evening").run_id == first.run_id  # a retry resumes
    second = job.open(1)
    assert (second.supersedes, second.fresh) == (first.run_id, False)
    assert job.open(1).run_id == second.run_id
    # While the instant is still to come, it is the same run.
    ahead = job.open((datetime.now(UTC) - day(0)).days + 1)
    assert ahead.started_at < ahead.key.as_of
    assert job.open((ahead.key.as_of - day(0)).days).run_id == ahead.run_id


def test_fresh_supersedes_the_newest_of_the_key(job: Job) -> None:
    first = job.open(1)
    job.store.update(first.run_id, status="stored")
    second = job.open(1, fresh=True)
    third = job.open(1, fresh=True)
    assert (second.supersedes, third.supersedes) == (first.run_id, second.run_id)
    assert job.open(1).run_id == third.run_id
    assert job.open(3, fresh=True).supersedes is None


def test_the_same_request_is_the_same_run_fresh_or_not(job: Job) -> None:
    first = job.open(1)
    fresh = job.open(1, fresh=True, request="again-1")
    assert fresh.run_id != first.run_id
    assert job.open(1, fresh=True, request="again-1").run_id == fresh.run_id
    assert job.open(1, fresh=True, request="again-2").supersedes == fresh.run_id


def test_many_that_open_a_key_at_once_get_one_run(job: Job) -> None:
    assert len({run.run_id for run in at_once(lambda: job.open(1), 8)}) == 1
    assert len({run.run_id for run in at_once(lambda: job.open(1, fresh=True), 4)}) <= 4
    runs = at_once(lambda: job.open(1, fresh=True, request="one"), 6)
    assert len({run.run_id for run in runs}) == 1
    superseded = [run.supersedes for run in job.store.latest(20)]
    assert len(superseded) == len(set(superseded))  # a chain, no fork


def test_requests_of_different_names_make_different_runs(job: Job) -> None:
    names = iter("abcd")
    runs: list[Run] = at_once(lambda: job.open(1, fresh=True, request=next(names)), 4)
    assert len({run.run_id for run in runs}) == 4


def test_updates_merge_counts_and_timings(job: Job) -> None:
    run = job.open(1)
    job.store.update(run.run_id, counts={"rows": 5}, timings={"extract": 1.5}, stage="extract")
    job.store.update(run.run_id, counts={"users": 2}, timings={"index": 0.5}, decision="promote")
    run = job.store.get(run.run_id)
    assert run.counts == {"rows": 5, "users": 2}
    assert run.timings == {"extract": 1.5, "index": 0.5}
    assert (run.stage, run.decision) == ("extract", "promote")
    job.store.update(run.run_id, decision=None)
    assert job.store.get(run.run_id).decision is None


def test_what_another_process_changes_meanwhile_stays_changed(job: Job) -> None:
    run = job.open(1)
    told = {"timings": {"score 2/4": 1.0}, "stage": "score"}
    waiting = threading.Thread(target=lambda: job.store.update(run.run_id, **told))
    with closing(psycopg2.connect(job.dsn)) as other, other.cursor() as cursor:
        cursor.execute(
            "update recs.run set status = 'failed', error = 'OSError: shard 1/4: no space',"
            " timings = '{\"score 1/4\": 2.0}'"
        )
        waiting.start()
        until = time.monotonic() + 30
        blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
        while job.rows(f"{blocked} and datname = current_database()") == [(0,)]:
            assert time.monotonic() < until
        other.commit()
    waiting.join()
    run = job.store.get(run.run_id)
    assert (run.status, run.error) == ("failed", "OSError: shard 1/4: no space")
    assert run.timings == {"score 1/4": 2.0, "score 2/4": 1.0}


def test_what_is_not_there_is_refused(job: Job) -> None:
    with pytest.raises(ConfigError, match="there is no run 99"):
        job.store.get(99)
    with pytest.raises(ConfigError, match="there is no run 99"):
        job.store.update(99, status="held")
    with pytest.raises(ValueError, match="seed"):
        job.store.update(job.open(1).run_id, seed=3)


def test_tables_that_were_never_made_are_a_config_error(database: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recjobs migrate"):
        Job(database, tmp_path).open(1)


def test_the_reference_is_the_newest_once_live_run_before(job: Job) -> None:
    assert job.store.reference(day(9)) is None
    assert not job.store.anything_live()
    runs = {number: job.night(number) for number in (1, 5, 3)}
    assert job.store.reference(day(1)) is None
    assert job.store.reference(day(5)) == runs[1]  # the third was never live
    assert job.store.reference(day(6)) == job.store.get(runs[5].run_id)
    assert job.store.live() == job.store.get(runs[5].run_id)
    assert job.store.anything_live()


def test_recent_rows_take_the_newest_stored_run_of_each_earlier_night(job: Job) -> None:
    for number, rows in ((1, 10), (2, 20), (3, 30)):
        run = job.open(number)
        job.store.update(run.run_id, status="stored", counts={"rows": rows})
    job.store.update(job.open(2, fresh=True).run_id, status="stored", counts={"rows": 21})
    job.store.update(job.open(2, fresh=True).run_id, status="failed", counts={"rows": 0})
    job.store.update(job.open(0).run_id, status="stored")
    recent = job.store.recent_rows(day(4), 7)
    assert list(recent.items()) == [(3, 30), (4, 21), (1, 10)]
    assert job.store.recent_rows(day(3), 1) == {4: 21}


def test_outcomes_are_recorded_once_however_often_they_are_told(job: Job) -> None:
    run = job.open(1)
    outcome = Outcome("validate", "nulls", "warn", False, 0.5, 0.05, "half of the rows; mend them")
    job.store.record_outcomes(run.run_id, [outcome])
    better = Outcome("validate", "nulls", "warn", True, 0.0, 0.05, "none")
    job.store.record_outcomes(run.run_id, [better])
    rows = job.rows("select stage, name, level, passed, observed, expected, message"
                    " from recs.check_result")  # fmt: skip
    assert rows == [("validate", "nulls", "warn", True, 0.0, 0.05, "none")]


def metrics(path: Path, values: dict[str, float | None]) -> Path:
    table = pa.table(
        {
            "model": list(values),
            "segment": ["all"] * len(values),
            "metric": ["ndcg@10"] * len(values),
            "value": pa.array(values.values(), pa.float64()),
            "low": pa.array([None] * len(values), pa.float64()),
            "high": pa.array([0.75] * len(values), pa.float64()),
            "users": pa.array([7] * len(values), pa.int32()),
        }
    )
    pq.write_table(table, path)
    return path


def test_metrics_and_their_history(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [job.night(1), job.open(2), job.open(2, fresh=True)]
    for run, value in zip(runs, (0.1, 0.2, 0.3), strict=True):
        for _ in range(2):
            path = metrics(tmp_path / "metrics.parquet", {"mf": value, "popular": None})
            job.store.record_metrics(run.run_id, path)
    rows = job.rows("select * from recs.metric order by run_id, model")
    assert rows[0] == (runs[0].run_id, "mf", "all", "ndcg@10", 0.1, None, 0.75, 7)
    assert len(rows) == 6
    history = job.store.metric_history("ndcg@10", day(2))
    assert [(point["run_id"], point["model"], point["value"]) for point in history] == [
        (runs[0].run_id, "mf", 0.1),
        (runs[0].run_id, "popular", None),
        (runs[2].run_id, "mf", 0.3),
        (runs[2].run_id, "popular", None),
    ]
    assert [point["was_live"] for point in history] == [True, True, False, False]
    assert job.store.metric_history("ndcg@10", day(0)) == []
    monkeypatch.setattr("recjobs.runs._NIGHTS", 1)
    newest = job.store.metric_history("ndcg@10", day(2))
    assert [point["as_of"] for point in newest] == [day(2)] * 2


def test_rejected_rows_are_kept_up_to_a_limit_per_reason(job: Job, tmp_path: Path) -> None:
    run = job.open(1)
    many = findings.MAX_REJECTED + 5
    reasons = ["nulls"] * many + ["duplicates"] * 2
    text = pa.array([None, *(f"ü {i}" for i in range(1, len(reasons)))])
    columns = {name: text for name in ("user_id", "item_id", "ts", "rating", "event")}
    pq.write_table(pa.table({"reason": reasons, **columns}), tmp_path / "rejected.parquet")
    for _ in range(2):
        job.store.record_rejected(run.run_id, tmp_path / "rejected.parquet")
    counts = job.rows("select reason, count(*) from recs.rejected_row group by 1 order by 1")
    assert counts == [("duplicates", 2), ("nulls", findings.MAX_REJECTED)]
    first = job.rows(
        "select user_id, event from recs.rejected_row order by rejected_row_id limit 2"
    )
    assert first == [(None, None), ("ü 1", "ü 1")]
