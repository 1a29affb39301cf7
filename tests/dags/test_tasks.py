"""What a task's arguments become, one function at a time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from psycopg2.extensions import parse_dsn

pytestmark = pytest.mark.filterwarnings("ignore:::airflow", "ignore:::pathspec")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("given", "interval_end", "run_after", "timezone", "expected"),
    [
        # a scheduled night: the day on which the interval ends
        (None, "2026-01-22T02:30:00+00:00", "2026-01-22T02:30:00+00:00", "UTC", "2026-01-22T00:00"),
        # ... in the job's time zone: 23:30 UTC is the next day in Paris, whose 00:00 is 23:00 UTC
        (None, "2026-01-21T23:30:00+00:00", "2026-01-21T23:30:00+00:00", "Europe/Paris",
         "2026-01-21T23:00"),
        # ... and the day before in New York
        (None, "2026-01-22T02:30:00+00:00", "2026-01-22T02:30:00+00:00", "America/New_York",
         "2026-01-21T05:00"),
        # a summer day of a zone with daylight saving
        (None, "2026-07-01T02:30:00+00:00", "2026-07-01T02:30:00+00:00", "Europe/Paris",
         "2026-06-30T22:00"),
        # the parameter wins over the interval
        ("2025-12-24", "2026-01-22T02:30:00+00:00", "2026-01-22T02:30:00+00:00", "UTC",
         "2025-12-24T00:00"),
        ("2025-12-24", None, "2026-01-22T14:00:00+00:00", "Europe/Paris", "2025-12-23T23:00"),
        # by hand, without a logical date: the day it was asked for
        (None, None, "2026-01-22T14:00:00+00:00", "UTC", "2026-01-22T00:00"),
    ],
)  # fmt: skip
def test_as_of(
    tasks: ModuleType,
    given: str | None,
    interval_end: str | None,
    run_after: str,
    timezone: str,
    expected: str,
) -> None:
    dag_run = SimpleNamespace(
        data_interval_end=at(interval_end) if interval_end else None, run_after=at(run_after)
    )
    assert tasks.resolve_as_of(given, dag_run, timezone) == at(expected).replace(tzinfo=UTC)


def test_a_run_by_hand_says_which_day_it_takes(
    tasks: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    dag_run = SimpleNamespace(data_interval_end=None, run_after=at("2026-01-22T14:00:00+00:00"))
    tasks.resolve_as_of(None, dag_run, "UTC")
    assert "as_of is the day of 2026-01-22" in caplog.text


@pytest.mark.parametrize(
    ("model", "n", "expected"),
    [
        (None, None, {}),
        ("mf", 10, {}),  # what the settings say anyway: no reason to keep the run from readers
        ("ease", 5, {"model.name": "ease", "score.n": 5}),
    ],
)
def test_overrides_are_what_differs_from_the_settings(
    tasks: ModuleType, tmp_path: Path, model: str | None, n: int | None, expected: dict[str, Any]
) -> None:
    path = tmp_path / "shop.toml"
    path.write_text('[source]\ntable = "clicks"\n[model]\nname = "mf"\nparams.embedding_dim = 8\n')
    settings = tasks.load_settings(path)
    given = tasks.overrides({"model": model, "n": n}, settings)
    assert given == expected
    settings.with_overrides(given)


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("postgres://me:p%40ss@db:6543/shop", "postgresql://me:p%40ss@db:6543/shop"),
        ("postgresql://me@db/shop?sslmode=require", "postgresql://me@db/shop?sslmode=require"),
        # the hook's own extras are not libpq's
        ("postgres://me@db/shop?cursor=dictcursor&sslmode=require",
         "postgresql://me@db/shop?sslmode=require"),
        ('{"conn_type": "postgres", "host": "db", "login": "me", "password": "p@ss",'
         ' "schema": "shop", "extra": {"connect_timeout": 5, "iam": false}}',
         "postgresql://me:p%40ss@db/shop?connect_timeout=5"),
        ("postgres://me@%2Fvar%2Frun/shop", "postgresql://me@%2Fvar%2Frun/shop"),
        # libpq reads a + as it stands
        ('{"conn_type": "postgres", "host": "db", "schema": "shop",'
         ' "extra": {"options": "-c search_path=app"}}',
         "postgresql://db/shop?options=-c%20search_path%3Dapp"),
        # a local socket, as the user of the process
        ('{"conn_type": "postgres", "schema": "shop", "extra": {"connect_timeout": 5}}',
         "postgresql:///shop?connect_timeout=5"),
    ],
)  # fmt: skip
def test_an_airflow_connection_reaches_the_job(
    tasks: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spelled: str,
    expected: str,
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_DB", spelled)
    path = tmp_path / "shop.toml"
    path.write_text('[source]\nairflow_conn_id = "shop_db"\ntable = "clicks"\n')
    settings = tasks.job_settings(str(path))
    assert settings.source.resolve() == expected
    assert os.environ["AIRFLOW_CONN_SHOP_DB"] == expected
    assert parse_dsn(expected)["dbname"] == "shop"


def test_progress_is_a_line_now_and_then(
    tasks: ModuleType, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(tasks.time, "monotonic", lambda: now[0])
    caplog.set_level("INFO")
    progress = tasks.log_progress("train")
    for second in range(31):
        now[0] = float(second)
        progress(second / 30, f"epoch {second}")
    assert [record.message for record in caplog.records] == [
        "train:  33 % epoch 10",
        "train:  67 % epoch 20",
        "train: 100 % epoch 30",
    ]


class Task:
    """As much of a task instance as the tasks' functions use, with no Airflow around it."""

    dag_id, run_id = "recjobs_shop", "manual__1"

    def __init__(self, **xcoms: Any) -> None:
        self.xcoms = xcoms

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self.xcoms.get(key)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def test_nothing_runs_where_no_run_was_opened(tasks: ModuleType) -> None:
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    with pytest.raises(AirflowSkipException):
        tasks.run_stage("unread.toml", "report", ti=Task())
    with pytest.raises(AirflowFailException, match="begin opened no run"):
        tasks.verdict("unread.toml", ti=Task())


def test_nothing_runs_of_a_night_that_was_finished_before(tasks: ModuleType) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException, match="run 7 of this night was finished before"):
        tasks.run_stage("unread.toml", "train", ti=Task(return_value=7, finished=True))
