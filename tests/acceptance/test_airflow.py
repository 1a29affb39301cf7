"""One real Airflow: its scheduler runs nights, backfills, clears and holds, on a real Postgres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import shop as shops
from recjobs import standalone
from recjobs.runs import Run, RunStore, run_folder
from servers import Server
from shop import DAYS, START, Shop

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

DAG = "recjobs_shop"
#: Of a night, and of what is no night.
_NIGHT_SECONDS = _SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Airflow:
    """A running Airflow, spoken to as a person's browser and shell would."""

    home: Path
    token: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(
            f"{standalone.url(self.home)}/api/v2/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)

    def command(self, *words: str) -> str:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW__")}
        done = subprocess.run(
            [str(Path(sys.executable).with_name("airflow")), *words],
            env={**inherited, "AIRFLOW_HOME": str(self.home)},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def runs(self) -> dict[str, dict[str, Any]]:
        found = self.ask("GET", f"dags/{DAG}/dagRuns?limit=100")["dag_runs"]
        return {run["dag_run_id"]: run for run in found}

    def tasks(self, run_id: str) -> dict[str, dict[str, Any]]:
        path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances"
        return {task["task_id"]: task for task in self.ask("GET", path)["task_instances"]}

    def wait(self, what: str, done: Callable[[], Any], seconds: float) -> Any:
        until = time.monotonic() + seconds
        while True:
            with suppress(OSError):  # a question that was not answered is asked again
                if result := done():
                    return result
            if time.monotonic() > until:
                shown = {run_id: run["state"] for run_id, run in self.runs().items()}
                pytest.fail(f"{what}: not within {seconds:.0f} s. DAG runs: {shown}")
            time.sleep(1)

    def finished(self, count: int, seconds: float) -> dict[str, dict[str, Any]]:
        """Wait until so many DAG runs have ended and none is left."""

        def ended() -> dict[str, dict[str, Any]] | None:
            runs = self.runs()
            over = all(run["state"] in ("success", "failed") for run in runs.values())
            return runs if len(runs) == count and over else None

        found: dict[str, dict[str, Any]] = self.wait(f"{count} DAG runs", ended, seconds)
        return found


@pytest.fixture(scope="module")
def shop(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop, its clicks moved so that they end now: a scheduled night has something to do."""
    folder = tmp_path_factory.mktemp("jobs")
    with postgres.database() as database, pytest.MonkeyPatch.context() as monkeypatch:
        shop = shops.open_shop(database, folder, monkeypatch)
        monkeypatch.setenv("RECJOBS__SCHEDULE__RETRY_DELAY_SECONDS", "5")
        monkeypatch.setenv("RECJOBS__SCHEDULE__SHARDS", "2")
        # Half a day from now: nothing but the newest night is due while the test runs.
        hour = (datetime.now(UTC).hour + 12) % 24
        monkeypatch.setenv("RECJOBS__SCHEDULE__CRON", f"30 {hour} * * *")
        days = (datetime.now(UTC) - START).days - DAYS + 1
        shop.execute(f"update app.clicks set clicked_at = clicked_at + interval '{days} days'")
        (folder / "broken.toml").write_text("[source\n")
        yield shop


@pytest.fixture(scope="module")
def airflow(
    shop: Shop, postgres: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp("airflow")
    options = {
        "core": {"dags_are_paused_at_creation": "True", "dagbag_import_timeout": "600"},
        "dag_processor": {"dag_file_processor_timeout": "900"},
    }
    with postgres.database() as metadata, pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(standalone, "_START_SECONDS", 900.0)
        process = standalone.start(home, shop.config.parent, metadata, options=options)
        try:
            yield Airflow(home, token(home))
        finally:
            standalone.halt(home)
            process.wait()


def token(home: Path) -> str:
    """Log in as the one user that `airflow standalone` makes."""
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    login = {"username": "admin", "password": passwords["admin"]}
    request = urllib.request.Request(
        f"{standalone.url(home)}/auth/token",
        data=json.dumps(login).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        found: str = json.load(answer)["access_token"]
    return found


def nights(shop: Shop) -> list[Run]:
    """Every run of the job, oldest first."""
    return RunStore.of(shop.settings).latest(100)[::-1]


def live(shop: Shop) -> Run:
    run = RunStore.of(shop.settings).live()
    assert run is not None
    return run


def lists(run: Run) -> list[bytes]:
    return [path.read_bytes() for path in run_folder(run).paths("score", "lists.parquet")]


def served(shop: Shop) -> list[tuple[object, ...]]:
    return shop.execute(
        "select user_id, rank, item_id, run_id from recs.recommendations order by user_id, rank"
    )


def poison(shop: Shop, before: str) -> None:
    """Shuffle who clicked what before the holdout: the champion has learnt what this can't."""
    shop.execute(
        f"with old as (select ctid, item_id from app.clicks where clicked_at < {before}),"
        " a as (select ctid, row_number() over (order by ctid) n from old),"
        " b as (select item_id, row_number() over (order by md5(ctid::text)) n from old)"
        " update app.clicks c set item_id = b.item_id from a join b using (n) where c.ctid = a.ctid"
    )


def span(tasks: dict[str, dict[str, Any]]) -> tuple[str, str]:
    """When a DAG run was at work on its run: from the first stage's start to the verdict's end."""
    return tasks["extract"]["start_date"], tasks["verdict"]["end_date"]


def test_a_real_scheduler(airflow: Airflow, shop: Shop) -> None:
    dags = airflow.wait(
        "both DAGs",
        lambda: (
            {d["dag_id"] for d in airflow.ask("GET", "dags")["dags"]} >= {DAG, "recjobs_broken"}
        ),
        _SECONDS,
    )
    assert dags
    assert airflow.ask("GET", "importErrors")["import_errors"] == []

    # Three nights of a backfill at once, and the scheduler's own newest one beside them.
    today = datetime.now(UTC)
    minute, hour = map(int, shop.settings.schedule.cron.split()[:2])
    due = (today.hour, today.minute) >= (hour, minute)
    newest = (today if due else today - timedelta(days=1)).date()
    backfilled = [newest - timedelta(days=n) for n in (3, 2, 1)]
    backfill = ("backfill", "create", "--dag-id", DAG, "--max-active-runs", "3")
    starts = [day - timedelta(days=1) for day in backfilled]
    airflow.command(*backfill, "--from-date", str(starts[0]), "--to-date", f"{starts[-1]}T23:59:59")
    airflow.command("dags", "unpause", DAG)
    runs = airflow.finished(4, 4 * _NIGHT_SECONDS)
    assert {run["state"] for run in runs.values()} == {"success"}
    assert sorted(run["run_type"] for run in runs.values()) == ["backfill"] * 3 + ["scheduled"]
    first = nights(shop)
    assert sorted(run.key.as_of.date() for run in first) == [*backfilled, newest]
    assert {run.status for run in first} == {"stored"}
    assert live(shop).key.as_of.date() == newest
    # Each in two shards, mapped by the scheduler; the stages had nothing of theirs left to do.
    shards = {f"{stage} {number}/2" for stage in ("score", "publish") for number in (1, 2)}
    assert all(shards < set(run.timings) and len(lists(run)) == 2 for run in first)
    # One at a time, though four were active.
    spans = sorted(span(airflow.tasks(run_id)) for run_id in runs)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))

    # Reprocessed by a backfill, and cleared: fresh runs with the same lists, and live stays.
    # (One backfill of a DAG at a time, and a cleared run opens its backfill again.)
    def no_backfill_runs() -> bool:
        backfills = airflow.ask("GET", f"backfills?dag_id={DAG}")["backfills"]
        return all(backfill["completed_at"] for backfill in backfills)

    airflow.wait("the backfill's end", no_backfill_runs, _SECONDS)
    airflow.command(
        *backfill, "--from-date", str(starts[1]), "--to-date", f"{starts[1]}T23:59:59",
        "--reprocess-behavior", "completed",
    )  # fmt: skip
    by_start = {run["logical_date"][:10]: run_id for run_id, run in runs.items()}
    cleared = by_start[str(starts[0])]
    airflow.ask("POST", f"dags/{DAG}/dagRuns/{cleared}/clear", {"dry_run": False})
    airflow.wait("the fresh runs", lambda: len(nights(shop)) == 6, 2 * _NIGHT_SECONDS)
    runs = airflow.finished(4, 2 * _NIGHT_SECONDS)
    assert {run["state"] for run in runs.values()} == {"success"}
    for run in nights(shop)[4:]:
        assert run.supersedes is not None
        (old,) = (o for o in first if o.run_id == run.supersedes)
        assert old.key == run.key
        assert old.key.as_of.date() in backfilled[:2]
        assert lists(run) == lists(old)
    assert live(shop).key.as_of.date() == newest

    # A later task cleared alone: the same run goes on, nothing new is opened.
    report = {"dry_run": False, "dag_run_id": cleared, "task_ids": ["report"], "only_failed": False}
    before = airflow.tasks(cleared)["report"]["try_number"]
    airflow.ask("POST", f"dags/{DAG}/clearTaskInstances", report)
    airflow.wait(
        "the report's second try",
        lambda: (airflow.tasks(cleared)["report"]["try_number"] > before
                 and airflow.runs()[cleared]["state"] == "success"),
        _NIGHT_SECONDS,
    )  # fmt: skip
    assert len(nights(shop)) == 6

    # A poisoned night, by hand: held, red, and what readers see does not move.
    readers = served(shop)
    tomorrow = newest + timedelta(days=1)
    poison(shop, before=f"date '{tomorrow}' - 4")
    by_hand = {"logical_date": None, "conf": {"as_of": str(tomorrow)}}
    poisoned = airflow.ask("POST", f"dags/{DAG}/dagRuns", by_hand)["dag_run_id"]
    runs = airflow.finished(5, _NIGHT_SECONDS)
    assert runs[poisoned]["state"] == "failed"
    states = {name: task["state"] for name, task in airflow.tasks(poisoned).items()}
    assert (states["gate"], states["publish"], states["report"], states["verdict"]) == (
        "success", "skipped", "success", "failed",
    )  # fmt: skip
    held = nights(shop)[-1]
    assert (held.status, held.key.as_of.date()) == ("held", tomorrow)
    assert served(shop) == readers

    # What the job's lists announced, for those who schedule on them.
    events = airflow.ask("GET", f"assets/events?source_dag_id={DAG}&limit=100")["asset_events"]
    assert {event["extra"]["run_id"] for event in events} == {r.run_id for r in nights(shop)[:-1]}
    assert all(0 < event["extra"]["metrics"]["ndcg@10"] <= 1 for event in events)
