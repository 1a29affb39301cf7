"""What is kept: attached, archived, dropped; and what an interrupted detach leaves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from published import Job, N
from recjobs import live, partitions, pointer, retain, sweep
from recjobs.pointer import Job as Where

KEEP = {"publish": {"attached": 2, "archive_days": 90}}


@pytest.fixture
def job(each_database: str, tmp_path: Path) -> Job:
    """A job with tables, on every server there is."""
    return Job(each_database, tmp_path).migrated()


def nights(job: Job, count: int) -> None:
    for number in range(1, count + 1):
        run = job.open(number)
        assert job.publish(run, **KEEP)["warnings"] == []


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no minute for an analyst."""
    monkeypatch.setattr(pointer, "SETTLE_SECONDS", (0.1, 0.3))


@contextmanager
def analyst(job: Job) -> Iterator[None]:
    """Hold a transaction open that has read the lists."""
    with closing(psycopg2.connect(job.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from recs.recommendations_history")
        yield


def history(job: Job) -> list[tuple[int, int]]:
    return job.rows(
        "select run_id, count(*) from recs.recommendations_history group by run_id order by run_id"
    )


def test_a_few_runs_stay_attached_and_the_others_are_archived(job: Job) -> None:
    nights(job, 4)
    assert job.partitions() == {
        "top_n_archive": ["top_n_archive_1", "top_n_archive_2"],
        "top_n_list": ["top_n_list_3", "top_n_list_4"],
    }
    assert [run.lists_in for run in job.store.latest(9)] == ["top_n_list"] * 2 + [
        "top_n_archive"
    ] * 2
    assert history(job) == [(run_id, N * 18) for run_id in (1, 2, 3, 4)]
    assert job.rollback() == 3
    assert job.rollback() == 2  # from the archive
    assert job.rows("select distinct run_id from recs.recommendations") == [(2,)]
    assert history(job) == [(run_id, N * 18) for run_id in (1, 2, 3, 4)]


def test_the_default_keeps_seven_attached(job: Job) -> None:
    for number in range(1, 10):
        job.night(number)
    assert len(job.partitions()["top_n_list"]) == 7


def test_what_is_too_old_is_dropped_and_its_run_stays(job: Job) -> None:
    nights(job, 4)
    job.rows("update recs.publication set live_from = live_from - interval '100 days',"
             " live_until = live_until - interval '100 days' where run_id <= 2")  # fmt: skip
    job.rows(
        "update recs.run set finished_at = finished_at - interval '100 days' where run_id <= 2"
    )
    nights_run = job.open(5)
    assert job.publish(nights_run, **KEEP)["warnings"] == []
    assert job.partitions() == {
        "top_n_archive": ["top_n_archive_3"],
        "top_n_list": ["top_n_list_4", "top_n_list_5"],
    }
    assert job.store.get(1).lists_in == "dropped"
    assert job.rows("select distinct run_id from recs.similar_list order by 1") == [
        (3,),
        (4,),
        (5,),
    ]
    assert len(job.rows("select * from recs.publication")) == 5


def test_an_archive_of_no_days_keeps_nothing_but_what_is_attached(job: Job) -> None:
    for number in range(1, 5):
        job.publish(job.open(number), publish={"attached": 2, "archive_days": 0})
    assert job.partitions() == {"top_n_list": ["top_n_list_3", "top_n_list_4"]}


def test_what_goes_with_lists_that_were_never_published_goes_too(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, at_work = job.open(1), job.open(2)
    for run in (left, at_work):
        with monkeypatch.context() as broken:
            broken.setattr(live, "publish", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                job.publish(run)
        job.store.release(run.run_id)
    job.publish(job.open(3), **KEEP)

    def kept() -> list[tuple[int, int]]:
        return job.rows(
            "select run_id, count(*) from (select run_id from recs.similar_list union all"
            " select run_id from recs.popular_list union all select run_id from recs.unserved_user)"
            " as kept group by 1 order by 1"
        )

    before = kept()
    assert [run_id for run_id, _ in before] == [1, 2, 3]
    job.rows("update recs.run set started_at = started_at - interval '100 days' where run_id <= 2")
    with job.store.lease(at_work.run_id, "test:0", 600):
        retain.retain(Where(job.dsn, job.schema), attached=2, archive_days=90)
    assert kept() == before[1:]


def test_a_rollback_does_not_wait_until_older_lists_are_copied(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(job, 2)
    copy = partitions.copy
    taken_back: list[int] = []

    def meanwhile(*args: Any) -> None:
        copy(*args)
        taken_back.append(job.rollback())

    monkeypatch.setattr(partitions, "copy", meanwhile)
    assert job.publish(job.open(3), **KEEP)["warnings"] == []
    assert (taken_back, job.live()) == ([2], 2)


def test_an_interrupted_detach_is_a_warning_and_the_next_night_ends_it(job: Job) -> None:
    nights(job, 2)
    third = job.open(3)
    with analyst(job):
        summary = job.publish(third, publish={**KEEP["publish"], "lock_timeout_ms": 200})
        assert summary["live"]
        assert len(summary["warnings"]) == 2
        assert "transactions were open" in summary["warnings"][0]
        assert "removing table recs.top_n_list_1" in summary["warnings"][1]
        pending = job.rows(
            "select inhrelid::regclass::text from pg_inherits where inhdetachpending"
        )
        assert pending == [("recs.top_n_list_1",)]
        # Nothing is missing, and nothing is there twice.
        assert history(job) == [(run_id, N * 18) for run_id in (1, 2, 3)]
        assert job.rows("select count(*) from recs.recommendations") == [(N * 18,)]
    fourth = job.open(4)
    assert job.publish(fourth, **KEEP)["warnings"] == []
    assert job.partitions() == {
        "top_n_archive": ["top_n_archive_1", "top_n_archive_2"],
        "top_n_list": ["top_n_list_3", "top_n_list_4"],
    }


def test_a_run_whose_detach_was_interrupted_can_go_live_again(job: Job) -> None:
    nights(job, 2)
    with analyst(job):
        job.publish(job.open(3), publish={**KEEP["publish"], "lock_timeout_ms": 200})
    job.promote(job.store.get(1))
    assert job.live() == 1
    assert job.rows("select count(*) from recs.recommendations") == [(N * 18,)]


def test_readers_do_not_wait_for_retention(job: Job) -> None:
    nights(job, 2)
    with analyst(job), closing(psycopg2.connect(job.dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("set lock_timeout = '100ms'")
            job.publish(job.open(3), publish={**KEEP["publish"], "lock_timeout_ms": 200})
            cursor.execute("select count(*) from recs.recommendations")
            assert cursor.fetchone() == (N * 18,)


def test_retention_that_fails_altogether_only_warns(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(job, 2)
    run = job.open(3)
    job.artifacts(run)

    def unreachable(where: Where, *, attached: int, archive_days: int) -> list[str]:
        elsewhere = Where("host=/nowhere dbname=x", where.schema)
        return retain.retain(elsewhere, attached=attached, archive_days=archive_days)

    monkeypatch.setattr("recjobs.publish.retain", unreachable)
    summary = job.publish(run, **KEEP)
    assert summary["live"]
    assert all("can't connect" in warning for warning in summary["warnings"])
    assert len(summary["warnings"]) == 5


def test_sweeping_leaves_a_run_at_work_alone(job: Job) -> None:
    nights(job, 1)
    at_work, left = job.open(2), job.open(3)
    for run in (at_work, left):
        job.rows(f"create table recs.top_n_load_{run.run_id} (like recs.top_n_list)")
    with job.store.lease(at_work.run_id, "test:0", 600):
        assert sweep.sweep(Where(job.dsn, job.schema)) == []
    assert job.partitions()[""] == [f"top_n_load_{at_work.run_id}"]


def test_a_promoted_backfill_is_kept_attached_before_older_publications(job: Job) -> None:
    nights(job, 3)
    job.promote(job.store.get(1))
    job.publish(job.open(4), **KEEP)
    assert job.partitions()["top_n_list"] == ["top_n_list_1", "top_n_list_4"]
    assert job.rollback() == 1
