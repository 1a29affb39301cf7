"""When a run goes live, by itself and by name, and the way back."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from published import Job, day
from recjobs import live, pointer
from recjobs.errors import CheckFailedError, ConfigError, DatabaseError
from recjobs.expectations import Outcome


@pytest.fixture
def job(each_database: str, tmp_path: Path) -> Job:
    """A job with tables, on every server there is."""
    return Job(each_database, tmp_path).migrated()


def lists_in(job: Job, run_id: int) -> str | None:
    return job.store.get(run_id).lists_in


def test_a_newer_night_goes_live_and_a_backfill_does_not(job: Job) -> None:
    fifth = job.night(5)
    assert job.live() == fifth.run_id
    third = job.open(3)
    summary = job.publish(third)
    assert not summary["live"]
    assert "a run as of 2026-01-06" in summary["why_not_live"]
    assert job.live() == fifth.run_id
    assert (lists_in(job, fifth.run_id), lists_in(job, third.run_id)) == (
        "top_n_list",
        "top_n_archive",
    )
    # Stored all the same: every kept run can be queried.
    found = job.rows("select distinct run_id from recs.recommendations_history order by 1")
    assert found == [(fifth.run_id,), (third.run_id,)]
    assert job.store.get(fifth.run_id).ever_live
    assert not job.store.get(third.run_id).ever_live
    assert not job.publish(third)["live"]  # a retry changes nothing
    assert job.night(6).run_id == job.live()


def test_a_fresh_run_of_the_same_night_goes_live(job: Job) -> None:
    first = job.night(5)
    second = job.night(5, fresh=True)
    assert second.supersedes == first.run_id
    assert job.live() == second.run_id
    assert not job.publish(first)["live"]  # the old one, published again, does not come back
    assert job.live() == second.run_id


def test_a_run_with_settings_given_by_hand_needs_promote(job: Job) -> None:
    first = job.night(1)
    run = job.open(2, overrides={"model.name": "ease"})
    summary = job.publish(run)
    assert "settings given by hand (model.name)" in summary["why_not_live"]
    assert job.live() == first.run_id
    job.promote(job.store.get(run.run_id), why="tried it")
    assert job.live() == run.run_id
    assert lists_in(job, run.run_id) == "top_n_list"
    newest = job.store.publications(1)[0]
    assert (newest["kind"], newest["decided_by"], newest["why"]) == ("promote", "ann", "tried it")


def test_rollback_goes_back_and_what_was_taken_back_stays_away(job: Job) -> None:
    runs = [job.night(number) for number in (1, 2, 3)]
    assert job.rollback(why="bad prices") == runs[1].run_id == job.live()
    newest, taken_back = job.store.publications(2)
    assert (newest["kind"], newest["run_id"], newest["why"]) == (
        "rollback", runs[1].run_id, "bad prices"
    )  # fmt: skip
    assert taken_back["rolled_back"]
    assert taken_back["live_until"] == newest["live_from"]

    assert not job.publish(runs[2])["live"]
    again = job.open(3, fresh=True)
    assert "same as_of was rolled back" in job.publish(again)["why_not_live"]
    assert job.live() == runs[1].run_id
    assert job.rollback() == runs[0].run_id  # never to the third, which was taken back
    with pytest.raises(ConfigError, match="no run to go back to"):
        job.rollback()
    assert job.night(4).run_id == job.live()  # a newer night is a new chance
    assert job.rollback() == runs[0].run_id


def test_lists_are_not_held_against_those_of_a_run_that_was_taken_back(job: Job) -> None:
    runs = [job.night(number) for number in (1, 2, 3)]

    def compared(*, kept: bool) -> int:
        found = job.store.reference(day(4), kept=kept)
        assert found is not None
        return found.run_id

    assert compared(kept=True) == runs[2].run_id
    job.rollback()
    assert compared(kept=True) == runs[1].run_id
    assert compared(kept=False) == runs[2].run_id
    job.promote(runs[2])
    assert compared(kept=True) == runs[2].run_id


def test_rollback_after_a_promotion_goes_back_in_time_not_in_as_of(job: Job) -> None:
    fifth = job.night(5)
    third = job.night(3)
    job.promote(third)
    assert job.live() == third.run_id
    assert job.rollback() == fifth.run_id


def test_there_is_one_open_publication_and_no_gap(job: Job) -> None:
    for number in (1, 2, 3):
        job.night(number)
    job.rollback()
    job.promote(job.store.get(3))
    rows = job.rows("select live_from, live_until from recs.publication order by publication_id")
    assert [until for _, until in rows] == [start for start, _ in rows[1:]] + [None]
    assert len(rows) == 5


def test_a_pin_stops_promotions_until_it_is_taken_off(job: Job) -> None:
    runs = [job.night(number) for number in (1, 2)]
    job.rollback(pin=True, why="under investigation")
    third = job.open(3)
    assert "pinned by ann" in job.publish(third)["why_not_live"]
    third = job.store.get(third.run_id)
    with pytest.raises(ConfigError, match=r"pinned by ann \(under investigation\)"):
        job.promote(third)
    assert job.live() == runs[0].run_id
    live.unpin(job.where)
    assert job.live() == runs[0].run_id
    assert job.rows("select pinned, pinned_by, pinned_why from recs.live") == [(False, None, None)]
    job.promote(third)
    assert job.live() == third.run_id


def test_a_pin_set_while_a_run_is_brought_back_is_not_overridden(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, between, last = (job.open(number) for number in (1, 2, 3))
    for run in (first, between, last):
        job.publish(run, publish={"attached": 2})
    settle = pointer.settle

    def pinned_meanwhile(at: pointer.Job, longest: float | None) -> list[str]:
        job.rows("update recs.live set pinned = true, pinned_by = 'oncall'")
        return settle(at, longest)

    monkeypatch.setattr(pointer, "settle", pinned_meanwhile)
    with pytest.raises(ConfigError, match="pinned by oncall"):
        live.promote(job.where, first.run_id, by="me", why="a drill")
    assert job.live() == last.run_id
    assert job.store.pin() == {"run_id": last.run_id, "by": "oncall", "why": None}


def test_nothing_to_roll_back_or_unpin_before_the_first_publish(job: Job) -> None:
    with pytest.raises(ConfigError, match="no run to go back to"):
        job.rollback()
    with pytest.raises(ConfigError, match="nothing is live"):
        live.unpin(job.where)


@pytest.mark.parametrize("name", ["completeness", "seen_items"])
def test_a_run_that_failed_a_check_can_not_be_promoted(job: Job, name: str) -> None:
    first = job.night(5)
    run = job.night(3)
    failed = Outcome("check", name, "warn", False, 3.0, 0.0, "3 users have seen items")
    job.store.record_outcomes(run.run_id, [failed])
    with pytest.raises(CheckFailedError, match=f"{name}: 3 users"):
        job.promote(run)
    churn = Outcome("check", "churn", "warn", False, 1.0, 0.9, "all is new")
    other = job.night(4)
    job.store.record_outcomes(other.run_id, [churn])
    assert job.live() == first.run_id
    job.promote(other)  # a matter of taste: a person may overrule it
    assert job.live() == other.run_id


def test_a_held_run_that_a_person_finishes_must_pass_them_too(job: Job) -> None:
    first = job.night(5)
    run = job.open(6)
    failed = Outcome("check", "seen_items", "warn", False, 3.0, 0.0, "3 users have seen items")
    job.store.record_outcomes(run.run_id, [failed])
    job.store.update(run.run_id, decision="promoted", rule="promoted by ann: why not")
    assert "3 users have seen items" in job.publish(run)["why_not_live"]
    assert job.live() == first.run_id


def test_promoting_the_live_run_changes_nothing(job: Job) -> None:
    run = job.night(1)
    before = job.store.publications(9)
    job.promote(run)
    assert job.store.publications(9) == before


def test_a_run_without_lists_can_not_be_promoted(job: Job) -> None:
    job.night(1)
    run = job.open(2)
    with pytest.raises(ConfigError, match="were never published"):
        job.promote(run)
    job.rows("update recs.run set lists_in = 'dropped' where run_id = %s", run.run_id)
    with pytest.raises(ConfigError, match="too old"):
        job.promote(run)


def test_a_promoted_run_reads_as_it_was_stored(job: Job) -> None:
    job.night(5)
    run = job.night(3)
    query = (
        "select user_id, rank, item_id, score, source, because_item_id, because_features"
        " from recs.{} where run_id = %s order by user_id, rank"
    )
    stored = job.rows(query.format("recommendations_history"), run.run_id)
    job.promote(run)
    assert job.rows(query.format("recommendations"), run.run_id) == stored
    assert job.rows(query.format("recommendations_history"), run.run_id) == stored
    similar = job.rows("select distinct run_id from recs.similar_items")
    assert similar == [(run.run_id,)]


def test_a_rollback_that_meets_a_publish_is_told_to_look_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        job.publish(job.open(number), publish={"attached": 2})
    assert job.rollback() == 2
    settle = pointer.settle

    def meanwhile(where: pointer.Job, longest: float | None) -> list[str]:
        monkeypatch.setattr(pointer, "settle", settle)
        job.night(4)
        return []

    monkeypatch.setattr(pointer, "settle", meanwhile)
    with pytest.raises(DatabaseError, match="run 4 went live while run 2"):
        job.rollback()  # to the first, out of the archive
    assert job.live() == 4


def test_a_promotion_that_was_cut_short_waits_for_readers_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job.open(1)
    for run in (first, job.open(2), job.open(3)):
        job.publish(run, publish={"attached": 2})
    settle, waited = pointer.settle, []

    def interrupted(where: pointer.Job, longest: float | None) -> list[str]:
        waited.append(longest)
        if len(waited) == 1:
            raise KeyboardInterrupt
        return settle(where, longest)

    monkeypatch.setattr(pointer, "settle", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job.promote(first)
    assert job.live() == 3
    job.promote(first)
    assert (job.live(), len(waited)) == (1, 2)


def test_a_rollback_waits_for_no_reader_for_long(job: Job) -> None:
    job.night(1)
    job.night(2)
    with closing(psycopg2.connect(job.dsn)) as app, app.cursor() as cursor:
        cursor.execute("select count(*) from recs.recommendations")
        started = time.monotonic()
        assert job.rollback() == 1
        assert time.monotonic() - started < 10
        cursor.execute("select distinct run_id from recs.recommendations")
        assert cursor.fetchall() == [(1,)]


def test_two_rollbacks_at_once_take_back_one_run(job: Job) -> None:
    for number in range(1, 5):
        job.night(number)
    errors: list[BaseException] = []

    def roll() -> None:
        try:
            job.rollback()
        except DatabaseError as error:
            errors.append(error)

    threads = [threading.Thread(target=roll) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Both found run 4 live, or the second came after the first was through.
    assert (job.live(), len(errors)) in ((3, 1), (2, 0))


def test_the_highest_as_of_ever_live_counts_not_the_live_one(job: Job) -> None:
    job.night(5)
    third = job.night(3)
    job.promote(third)
    fourth = job.night(4)
    assert job.live() == third.run_id  # live is the third, and yet the fourth is no progress
    assert not fourth.ever_live
    assert job.store.reference(day(6)).key.as_of == day(5)  # type: ignore[union-attr]


def test_standing_before_and_after(job: Job) -> None:
    run = job.night(1)
    where = pointer.Job(job.dsn, job.schema)
    now = pointer.locked(where, lambda c: pointer.standing(c, job.schema, run.run_id))
    assert (now.live_run_id, now.highest_as_of, now.ever_live) == (run.run_id, day(1), True)
    assert live.promote(where, run.run_id, by="ann", why="") is False
