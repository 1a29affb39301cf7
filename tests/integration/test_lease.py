"""One run of a job at a time, whichever process runs its stages."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pooler import pooled
from published import Job
from recjobs import lease
from recjobs.errors import DatabaseError, LeaseHeldError

HERE = f"{socket.gethostname()}:{os.getpid()}"


@pytest.fixture
def job(each_database: str, tmp_path: Path) -> Job:
    """A job with tables, on every server there is."""
    return Job(each_database, tmp_path).migrated()


def expire(job: Job) -> None:
    job.rows("update recs.lease set expires_at = now() - interval '1 second'")


def hush(job: Job) -> None:
    """Let whoever holds the lease have been silent for a minute of the time that it is valid."""
    minute = "interval '1 minute'"
    job.rows(
        f"update recs.lease set renewed_at = renewed_at - {minute},"
        f" expires_at = expires_at - {minute}"
    )


def beat_every(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let a lease be renewed so often, for however long it is taken."""
    monkeypatch.setattr(lease, "beat", lambda ttl: seconds)


def await_renewal(job: Job) -> None:
    taken = job.rows("select expires_at from recs.lease")
    while job.rows("select expires_at from recs.lease") == taken:
        time.sleep(0.1)


def test_another_run_has_to_wait_and_is_told_for_whom(job: Job) -> None:
    first, second = job.open(1), job.open(2)
    with job.store.lease(first.run_id, "elsewhere:7", 600):
        with (
            pytest.raises(
                LeaseHeldError, match=r"run 1 is at work \(elsewhere:7, since 20"
            ) as held,
            job.store.lease(second.run_id, HERE, 600),
        ):
            pass
        assert not job.store.try_lease(second.run_id, HERE, 600)
    assert held.value.exit_code == 6
    # Between two stages the run keeps it.
    with pytest.raises(LeaseHeldError, match="run 1 is between two stages"):
        lease.acquire(job.dsn, job.schema, second.run_id, HERE, 600)
    job.store.release(second.run_id)  # not its own: nothing happens
    assert not job.store.try_lease(second.run_id, HERE, 600)
    job.store.release(first.run_id)
    assert job.store.try_lease(second.run_id, HERE, 600)


def test_the_next_stage_of_the_run_goes_on_in_any_process(job: Job) -> None:
    run = job.open(1)
    with job.store.lease(run.run_id, "worker-1:10", 600):
        pass
    [(since,)] = job.rows("select acquired_at from recs.lease")
    with job.store.lease(run.run_id, "worker-2:20", 600):
        assert job.rows("select acquired_at, holder from recs.lease") == [(since, "worker-2:20")]


def test_two_processes_do_not_work_on_one_run_at_once(job: Job) -> None:
    run = job.open(1)
    with job.store.lease(run.run_id, "worker-1:10", 600):
        with pytest.raises(LeaseHeldError, match="is at work"):
            lease.acquire(job.dsn, job.schema, run.run_id, "worker-2:20", 600)
        with job.store.lease(run.run_id, "worker-1:10", 600):
            pass  # the same process may


def test_the_parts_of_a_stage_share_the_lease_and_with_nothing_else(job: Job) -> None:
    run, other = job.open(1), job.open(2)
    job.store.try_lease(run.run_id, HERE, 600)  # as `begin` leaves it
    first = job.store.lease(run.run_id, "worker-1:10", 600, part="score 1/2")
    second = job.store.lease(run.run_id, "worker-2:20", 600, part="score 2/2")
    with first:
        with second:
            assert job.rows("select part, at_work from recs.lease order by part") == [
                ("score 1/2", True), ("score 2/2", True)
            ]  # fmt: skip
            # The same part twice, the whole stage beside a part, another run.
            for run_id, part in ((run, "score 2/2"), (run, ""), (other, ""), (other, "score 1/2")):
                with pytest.raises(LeaseHeldError, match="run 1 is at work"):
                    lease.acquire(job.dsn, job.schema, run_id.run_id, HERE, 600, part=part)
        # The first is at work still, the second may be tried again.
        job.store.release(run.run_id)
        assert not job.store.try_lease(other.run_id, HERE, 600)
        with job.store.lease(run.run_id, "worker-3:30", 600, part="score 2/2"):
            pass
    assert not job.store.try_lease(other.run_id, HERE, 600)
    with job.store.lease(run.run_id, "worker-4:40", 600):
        assert job.rows("select part, holder from recs.lease") == [("", "worker-4:40")]
        with pytest.raises(LeaseHeldError, match="run 1 is at work"):
            lease.acquire(job.dsn, job.schema, run.run_id, HERE, 600, part="score 1/2")
    job.store.release(run.run_id)
    assert job.store.try_lease(other.run_id, HERE, 600)


def test_parts_that_died_at_work_hold_nothing_up(job: Job) -> None:
    first, second = job.open(1), job.open(2)
    for number in (1, 2):
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        dead = f"{socket.gethostname()}:{process.pid}"
        part = f"score {number}/2"
        lease.acquire(job.dsn, job.schema, first.run_id, dead, 600, part=part)
    hush(job)
    # Its own other part goes on beside the dead one; the same part takes it over.
    with job.store.lease(first.run_id, HERE, 600, part="score 2/2"):
        pass
    assert job.store.try_lease(first.run_id, HERE, 600)
    assert job.rows("select part from recs.lease") == [("",)]
    job.store.release(first.run_id)
    assert job.store.try_lease(second.run_id, HERE, 600)


def test_of_many_parts_that_ask_at_once_all_get_it_or_none(job: Job) -> None:
    runs = [job.open(number) for number in (1, 2)]
    got: list[int] = []
    start = threading.Barrier(8)

    def ask(run_id: int, part: int) -> None:
        start.wait()
        with suppress(LeaseHeldError):
            lease.acquire(job.dsn, job.schema, run_id, f"worker-{run_id}{part}:1", 600,
                          part=f"score {part}/4")  # fmt: skip
            got.append(run_id)

    asked = [(run.run_id, part) for run in runs for part in range(1, 5)]
    threads = [threading.Thread(target=ask, args=each) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 4
    assert len(set(got)) == 1


def test_an_expired_lease_is_anyones_by_the_databases_clock(job: Job) -> None:
    first, second = job.open(1), job.open(2)
    assert job.store.try_lease(first.run_id, "elsewhere:1", 600)
    assert not job.store.try_lease(second.run_id, HERE, 600)
    expire(job)
    assert job.store.try_lease(second.run_id, HERE, 600)
    assert not job.store.try_lease(first.run_id, "elsewhere:1", 600)


def test_a_process_of_this_machine_that_died_at_work_holds_nothing_up(job: Job) -> None:
    first, second = job.open(1), job.open(2)
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead = f"{socket.gethostname()}:{process.pid}"
    lease.acquire(job.dsn, job.schema, first.run_id, dead, 600)
    hush(job)
    assert job.store.try_lease(second.run_id, HERE, 600)
    # Its stages may well run in a process each: one that ended between two of them is no reason.
    job.store.release(second.run_id)
    lease.acquire(job.dsn, job.schema, first.run_id, dead, 600, at_work=False)
    hush(job)
    assert not job.store.try_lease(second.run_id, HERE, 600)


def test_a_process_that_can_not_be_seen_and_yet_renews_is_alive(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat = lease.beat

    def often(ttl: float) -> float:
        renews = threading.current_thread().name.startswith("lease of")
        return 0.2 if renews else beat(ttl)

    monkeypatch.setattr(lease, "beat", often)
    first, second = job.open(1), job.open(2)
    elsewhere = f"{socket.gethostname()}:{2**22 + 1}"  # above the greatest id of a process
    with job.store.lease(first.run_id, elsewhere, 600):
        asked: list[bool] = []
        ask = threading.Thread(
            target=lambda: asked.append(job.store.try_lease(second.run_id, HERE, 600)), daemon=True
        )
        ask.start()
        time.sleep(1.5 * beat(600) + 1)
        assert asked == []  # it waits for a silence
    ask.join()
    assert asked == [False]  # the stage ended: its run goes on
    job.store.release(first.run_id)
    assert job.store.try_lease(second.run_id, HERE, 600)


def test_of_many_that_ask_at_once_one_gets_it(job: Job) -> None:
    runs = [job.open(number) for number in range(8)]
    got: list[int] = []
    start = threading.Barrier(len(runs))

    def ask(run_id: int) -> None:
        start.wait()
        if job.store.try_lease(run_id, f"worker-{run_id}:1", 600):
            got.append(run_id)

    threads = [threading.Thread(target=ask, args=(run.run_id,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_it_is_renewed_while_a_stage_runs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    beat_every(monkeypatch, 0.2)
    run, other = job.open(1), job.open(2)
    with job.store.lease(run.run_id, HERE, 600, 3600):
        expire(job)
        await_renewal(job)
        assert not job.store.try_lease(other.run_id, "elsewhere:1", 600)
    [(kept,)] = job.rows("select expires_at > now() + interval '30 minutes' from recs.lease")
    assert kept


def test_a_stage_that_lost_its_lease_fails_at_its_end(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 600)
    run, other = job.open(1), job.open(2)

    def stage() -> None:
        with job.store.lease(run.run_id, HERE, 600):
            expire(job)
            assert job.store.try_lease(other.run_id, "elsewhere:1", 600)

    with pytest.raises(LeaseHeldError, match="lost the job's lease"):
        stage()
    assert job.rows("select run_id from recs.lease") == [(other.run_id,)]


def test_a_stage_is_told_at_any_time_that_it_lost_its_lease(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 600)
    run, other = job.open(1), job.open(2)
    with job.store.lease(run.run_id, HERE, 600) as require_lease:
        expire(job)
        require_lease()  # nobody took it: it is renewed
        assert not job.store.try_lease(other.run_id, "elsewhere:1", 600)

    def stage() -> None:
        with job.store.lease(run.run_id, HERE, 600) as require_lease:
            expire(job)
            lease.acquire(job.dsn, job.schema, run.run_id, "elsewhere:1", 600)
            require_lease()
            raise ZeroDivisionError  # it went on

    with pytest.raises(LeaseHeldError, match="or another process took it"):
        stage()
    assert job.rows("select holder, at_work from recs.lease") == [("elsewhere:1", True)]


def away(*_: object, **__: object) -> bool:
    raise DatabaseError("it is restarting")


def test_a_database_that_is_away_for_a_moment_loses_no_lease(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 600)

    renew = lease._renew
    with job.store.lease(job.open(1).run_id, HERE, 600) as require_lease:
        monkeypatch.setattr(lease, "_renew", away)
        require_lease()
        monkeypatch.setattr(lease, "_renew", renew)


def test_a_lease_that_was_anothers_for_a_while_is_lost_for_good(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 0.1)
    run = job.open(1)

    def stage() -> None:
        with job.store.lease(run.run_id, HERE, 600):
            [heart] = [each for each in threading.enumerate() if isinstance(each, lease._Heart)]
            job.rows("update recs.lease set holder = 'elsewhere:1'")
            heart.join()
            job.rows("update recs.lease set holder = %s", HERE)

    with pytest.raises(LeaseHeldError, match="lost the job's lease"):
        stage()


def test_a_database_that_is_away_for_longer_than_the_lease_tells_once_it_is_back(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 0.1)

    renew = lease._renew
    with job.store.lease(job.open(1).run_id, HERE, 0.4) as require_lease:
        monkeypatch.setattr(lease, "_renew", away)
        time.sleep(0.6)
        with pytest.raises(LeaseHeldError, match="lost the job's lease"):
            require_lease()
        monkeypatch.setattr(lease, "_renew", renew)
        require_lease()  # nobody has taken it


def test_the_failure_of_a_stage_is_told_not_that_of_its_lease(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat_every(monkeypatch, 600)
    run, other = job.open(1), job.open(2)

    def stage() -> None:
        with job.store.lease(run.run_id, HERE, 600):
            expire(job)
            assert job.store.try_lease(other.run_id, "elsewhere:1", 600)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage()
    with pytest.raises(ZeroDivisionError), job.store.lease(other.run_id, "elsewhere:1", 600):
        raise ZeroDivisionError
    held = job.rows("select run_id, at_work from recs.lease")
    assert held == [(other.run_id, False)]  # a retry of the stage goes on with it


def test_lease_and_pointer_work_through_a_transaction_pooler(
    database: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beat_every(monkeypatch, 0.2)
    job = Job(database, tmp_path).migrated()
    runs = [job.night(number) for number in (1, 2, 3)]
    with pooled(database, tmp_path_factory.mktemp("p")) as dsn:
        through = Job(dsn, tmp_path)
        run, other = through.open(4), through.open(5)
        with through.store.lease(run.run_id, HERE, 600):
            await_renewal(job)
            assert not through.store.try_lease(other.run_id, "elsewhere:1", 600)
        through.store.release(run.run_id)
        assert through.rollback() == runs[1].run_id
        through.promote(runs[2])
    assert job.live() == runs[2].run_id
