"""Five successive nights on real data with real times, one of them poisoned, and run by Airflow.

People tweet about what runs in cinemas now: popularity with a half-life of days is nearly the best
that can be done, and a model that knows tastes ties with it (docs/quality.md has the figures). The
job's settings therefore let the model pass with up to 15% less than popularity; the champion, not
the floor, is what a poisoned night has to get past.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks import data
from recjobs import migrate, pipeline
from recjobs.config import Settings, load_settings
from recjobs.db import connect
from recjobs.errors import GateError
from recjobs.runs import RunStore

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore"),  # Airflow's
    pytest.mark.skipif(
        not data.available("movietweetings-100k"), reason="movietweetings-100k is not here"
    ),
]
HOLDOUT_DAYS = 7
POISONED = 3  # of the nights 0 to 4

TOML = f"""
[job]
training_threads = 2
[source]
dsn_env = "TWEETS_DSN"
table = "tweets"
time = "ts"
time_unit = "s"
rating = "rating"
[target]
dsn_env = "TWEETS_DSN"
[feedback]
positive_at = 7.0
[holdout]
days = {HOLDOUT_DAYS}
[model]
name = "mf"
[gate]
min_lift_over_popular = -0.15
"""


@pytest.fixture
def settings(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TWEETS_DSN", database)
    config = tmp_path / "tweets.toml"
    config.write_text(TOML)
    frame = data.table("movietweetings-100k").select(["user_id", "item_id", "rating", "ts"])
    execute(
        database,
        "create table tweets (user_id bigint, item_id bigint, rating real, ts bigint);"
        "create index on tweets (ts)",
    )
    with connect(database) as connection, connection.cursor() as cursor:
        text = io.StringIO(frame.to_pandas().to_csv(index=False, header=False))
        cursor.copy_expert("copy tweets from stdin with (format csv)", text)
    settings = load_settings(config)
    migrate.migrate(settings)
    return settings


def execute(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_five_nights_with_a_poisoned_one_among_them(
    settings: Settings, database: str, tmp_path: Path, dags: Callable[[Path], Any]
) -> None:
    last = pd.Timestamp(data.table("movietweetings-100k")["ts"].to_numpy().max(), unit="s")
    end = datetime(last.year, last.month, last.day, tzinfo=UTC)
    nights = [end - timedelta(days=4 - number) for number in range(5)]
    live = None
    for number, as_of in enumerate(nights):
        if number == POISONED:
            cutoff = as_of - timedelta(days=HOLDOUT_DAYS)
            poison(database, cutoff)
            before = execute(database, "table recs.recommendations")
            dag = dags(tmp_path).dags["recjobs_tweets"]
            dag_run = dag.test(run_conf={"as_of": f"{as_of:%Y-%m-%d}"})
            assert dag_run.state == "failed"
            with pytest.raises(GateError, match="is held"):
                pipeline.run_night(settings, as_of)  # the same run, as it ended
            assert execute(database, "table recs.recommendations") == before
            execute(database, "truncate tweets; insert into tweets table truth")
            continue
        run = pipeline.run_night(settings, as_of)
        assert run.status == "stored"
        assert run.champion_run_id == live
        live = run.run_id
        assert execute(database, "select run_id from recs.live") == [(live,)]
    statuses = [run.status for run in reversed(RunStore.of(settings).latest(9))]
    assert statuses == ["stored", "stored", "stored", "held", "stored"]


def poison(dsn: str, cutoff: datetime) -> None:
    """Shuffle which film a row before the holdout is about."""
    execute(
        dsn,
        "create table truth as table tweets;"
        "with old as (select ctid, item_id from tweets"
        f"   where ts < {int(cutoff.timestamp())}),"
        " a as (select ctid, row_number() over (order by ctid) n from old),"
        " b as (select item_id, row_number() over (order by md5(ctid::text)) n from old)"
        " update tweets t set item_id = b.item_id from a join b using (n) where t.ctid = a.ctid",
    )
