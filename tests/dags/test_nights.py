"""Whole nights through `dag.test`, on a real Postgres: the same as by the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from recjobs import pipeline
from recjobs.errors import DatabaseError
from recjobs.runs import Run, RunStore, run_folder
from shop import Shop, night

pytestmark = pytest.mark.filterwarnings("ignore")  # Airflow's, in its own loops

NIGHT = {"as_of": "2026-01-25"}  # night(24)


@pytest.fixture
def airflow_night(dags: Callable[[Path], Any], shop: Shop) -> Callable[..., Any]:
    """Run the shop's DAG in this process and return its DAG run."""

    def test(conf: dict[str, Any] | None = None, logical_date: datetime | None = None) -> Any:
        dag = dags(shop.config.parent).dags["recjobs_shop"]
        return dag.test(run_conf=conf, logical_date=logical_date)

    return test


def states(dag_run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


def newest(shop: Shop) -> Run:
    return RunStore.of(shop.settings).latest(1)[0]


def lists(run: Run) -> dict[str, bytes]:
    names = ("lists.parquet", "popular.parquet", "similar.parquet")
    return {name: run_folder(run).path("score", name).read_bytes() for name in names}


def served(shop: Shop) -> list[tuple[object, ...]]:
    return shop.execute(
        "select user_id, rank, item_id, run_id from recs.recommendations order by user_id, rank"
    )


def poison(shop: Shop, before: datetime) -> None:
    """Shuffle who clicked what before the holdout: the champion has learnt what this can't."""
    shop.execute(
        f"with old as (select ctid, item_id from app.clicks where clicked_at < '{before}'),"
        " a as (select ctid, row_number() over (order by ctid) n from old),"
        " b as (select item_id, row_number() over (order by md5(ctid::text)) n from old)"
        " update app.clicks c set item_id = b.item_id from a join b using (n) where c.ctid = a.ctid"
    )


def test_a_night_gives_the_command_lines_lists(
    airflow_night: Callable[..., Any], shop: Shop
) -> None:
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "success"
    assert set(states(dag_run).values()) == {"success"}
    by_airflow = newest(shop)
    assert (by_airflow.status, by_airflow.key.as_of) == ("stored", night(24))
    assert {row[3] for row in served(shop)} == {by_airflow.run_id}

    # The same key: the same run. Afresh: the same lists.
    assert pipeline.run_night(shop.settings, night(24)).run_id == by_airflow.run_id
    by_hand = pipeline.run_night(shop.settings, night(24), fresh=True)
    assert by_hand.run_id != by_airflow.run_id
    assert lists(by_hand) == lists(by_airflow)


def test_a_night_in_shards_gives_the_same_lists(
    airflow_night: Callable[..., Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand = pipeline.run_night(shop.settings, night(24))
    monkeypatch.setenv("RECJOBS__SCHEDULE__SHARDS", "3")
    dag_run = airflow_night({**NIGHT, "fresh": True})
    assert dag_run.state == "success"
    mapped = [
        (ti.task_id, ti.map_index) for ti in dag_run.get_task_instances() if ti.map_index >= 0
    ]
    expected = [(f"{stage}_shards", k) for stage in ("publish", "score") for k in range(3)]
    assert sorted(mapped) == expected
    run = newest(shop)
    assert run.supersedes == by_hand.run_id
    # Each task did its share, and the stages did the rest.
    assert {f"{task[:-7]} {k + 1}/3" for task, k in mapped} < set(run.timings)
    rows = [
        [row for path in run_folder(each).paths("score", "lists.parquet")
         for row in pq.read_table(path).to_pylist()]
        for each in (by_hand, run)
    ]  # fmt: skip
    assert rows[0] == rows[1]
    assert {row[3] for row in served(shop)} == {run.run_id}


def test_a_shard_that_fails_keeps_the_rest_from_being_live(
    airflow_night: Callable[..., Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recjobs import stages
    from recjobs.errors import DataError

    first = pipeline.run_night(shop.settings, night(24))
    monkeypatch.setenv("RECJOBS__SCHEDULE__SHARDS", "2")
    work = stages.SHARDED["publish"]

    def refused(of_night: Any, shard: Any, progress: Any) -> bool:
        if shard.number == 1:
            raise DataError("no such row")
        return work(of_night, shard, progress)

    with monkeypatch.context() as patch:
        patch.setitem(stages.SHARDED, "publish", refused)
        dag_run = airflow_night({"as_of": "2026-01-26"})
    assert dag_run.state == "failed"
    of_shards = {
        ti.map_index: str(ti.state)
        for ti in dag_run.get_task_instances()
        if ti.task_id == "publish_shards"
    }
    assert of_shards == {0: "failed", 1: "success"}
    found = states(dag_run)
    assert (found["publish"], found["report"]) == ("upstream_failed", "success")
    assert found["verdict"] == "failed"
    assert {row[3] for row in served(shop)} == {first.run_id}
    run = newest(shop)
    assert (run.status, run.stage, run.error) == (
        "failed", "publish", "DataError: shard 1/2: no such row"
    )  # fmt: skip
    assert pipeline.run_night(shop.settings, night(25)).run_id == run.run_id
    assert {row[3] for row in served(shop)} == {run.run_id}


def test_the_interval_says_the_night(airflow_night: Callable[..., Any], shop: Shop) -> None:
    # By hand with a logical date: the last whole interval before it, here up to the 26th, 02:30.
    dag_run = airflow_night(logical_date=datetime(2026, 1, 26, 9, tzinfo=UTC))
    assert dag_run.state == "success"
    assert newest(shop).key.as_of == night(25)


def test_a_night_twice_returns_the_finished_run(
    airflow_night: Callable[..., Any], shop: Shop
) -> None:
    run = pipeline.run_night(shop.settings, night(24))
    for _ in range(2):
        dag_run = airflow_night(NIGHT)
        assert dag_run.state == "success"
        found = states(dag_run)
        assert found.pop("begin") == found.pop("verdict") == "success"
        assert set(found.values()) == {"skipped"}
    assert newest(shop).run_id == run.run_id
    assert shop.execute("select count(*) from recs.run") == [(1,)]


def test_parameters_reach_the_run(airflow_night: Callable[..., Any], shop: Shop) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    dag_run = airflow_night({**NIGHT, "model": "item_knn", "n": 5})
    assert dag_run.state == "success"
    run = newest(shop)
    assert run.overrides == {"model.name": "item_knn", "model.params": {}, "score.n": 5}
    assert (run.model, run.status) == ("item_knn", "stored")
    assert {row[3] for row in served(shop)} == {first.run_id}  # it needs a person's promote

    dag_run = airflow_night({**NIGHT, "fresh": True, "dry_run": True})
    assert dag_run.state == "success"
    assert states(dag_run)["publish"] == "skipped"
    run = newest(shop)
    assert (run.supersedes, run.status) == (first.run_id, "dry_run")
    assert {row[3] for row in served(shop)} == {first.run_id}


def test_fresh_is_fresh_each_time_it_is_asked_for(
    airflow_night: Callable[..., Any], shop: Shop
) -> None:
    runs = []
    for _ in range(2):
        assert airflow_night({**NIGHT, "fresh": True, "dry_run": True}).state == "success"
        runs.append(newest(shop))
    assert runs[1].supersedes == runs[0].run_id


def test_a_held_night_ends_the_dag_run_failed(
    airflow_night: Callable[..., Any], shop: Shop
) -> None:
    first = pipeline.run_night(shop.settings, night(24))
    before = served(shop)
    poison(shop, before=night(21))
    for _ in range(2):  # twice: the held run is found again, and is as red
        dag_run = airflow_night({"as_of": "2026-01-26"})
        assert dag_run.state == "failed"
        assert states(dag_run)["verdict"] == "failed"
        assert states(dag_run)["publish"] == "skipped"
        assert served(shop) == before
    held = newest(shop)
    assert (held.status, held.supersedes) == ("held", None)
    assert held.run_id > first.run_id
    assert run_folder(held).finished("report")


def test_a_failed_expectation_fails_at_once_and_is_reported(
    airflow_night: Callable[..., Any], shop: Shop
) -> None:
    pipeline.run_night(shop.settings, night(24))
    before = served(shop)
    shop.execute(f"delete from app.clicks where clicked_at >= '{night(5)}'")
    dag_run = airflow_night({"as_of": "2026-01-26"})
    assert dag_run.state == "failed"
    found = states(dag_run)
    assert (found["extract"], found["validate"]) == ("success", "failed")
    assert found["index"] == found["publish"] == "upstream_failed"
    assert (found["report"], found["verdict"]) == ("success", "failed")
    tries = {ti.task_id: ti.try_number for ti in dag_run.get_task_instances()}
    assert tries["validate"] == tries["verdict"] == 1
    assert served(shop) == before


def test_a_failed_report_fails_the_dag_run(
    airflow_night: Callable[..., Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recjobs import stages
    from recjobs.errors import DataError

    def no_report(*_: object) -> None:
        raise DataError("no report today")

    monkeypatch.setitem(stages.WORK, "report", no_report)
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "failed"
    assert (states(dag_run)["publish"], states(dag_run)["report"]) == ("success", "failed")
    assert newest(shop).status == "stored"


def test_a_run_that_was_never_opened_fails(airflow_night: Callable[..., Any], shop: Shop) -> None:
    shop.execute("drop schema recs cascade")
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "failed"
    found = states(dag_run)
    assert (found["begin"], found["report"], found["verdict"]) == ("failed", "skipped", "failed")


def test_a_lost_connection_is_retried_and_the_run_resumes(
    airflow_night: Callable[..., Any], shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recjobs import stages

    work, left = stages.WORK["train"], [2]

    def flaky(*arguments: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise DatabaseError("server closed the connection unexpectedly")
        work(*arguments)

    monkeypatch.setitem(stages.WORK, "train", flaky)
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "success"
    tries = {ti.task_id: ti.try_number for ti in dag_run.get_task_instances()}
    assert (tries["index"], tries["train"], tries["evaluate"]) == (1, 3, 1)
    assert shop.execute("select count(*) from recs.run") == [(1,)]


def test_begin_waits_for_the_lease_without_using_a_try(
    airflow_night: Callable[..., Any],
    shop: Shop,
    tasks: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_WAIT", timedelta(seconds=1))
    other = pipeline.begin(shop.settings, night(20))
    store, opens, asked = RunStore.of(shop.settings), pipeline.begin, []

    def third_time_lucky(*args: Any, **kwargs: Any) -> Run:
        asked.append(args)
        if len(asked) == 3:
            store.release(other.run_id)
        return opens(*args, **kwargs)

    monkeypatch.setattr(pipeline, "begin", third_time_lucky)
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "success"
    begin = instance(dag_run, "begin")
    assert (begin.try_number, reschedules(begin) >= 2) == (1, True)


def test_a_stage_that_lost_the_lease_waits_for_it(
    airflow_night: Callable[..., Any],
    shop: Shop,
    tasks: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_WAIT", timedelta(seconds=1))
    store = RunStore.of(shop.settings)
    other = pipeline.begin(shop.settings, night(20))
    store.release(other.run_id)
    run_stage, asked = pipeline.run_stage, []

    def robbed(settings: Any, run_id: int, stage: str, *rest: Any) -> Any:
        if stage == "train":
            asked.append(stage)
            if len(asked) == 3:
                store.release(other.run_id)
        state = run_stage(settings, run_id, stage, *rest)
        if stage == "index":
            store.release(run_id)
            assert store.try_lease(other.run_id, "elsewhere:1", 600)
        return state

    monkeypatch.setattr(pipeline, "run_stage", robbed)
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "success"
    train = instance(dag_run, "train")
    assert (train.try_number, reschedules(train) >= 2) == (1, True)


def test_the_report_of_an_old_run_neither_waits_for_the_lease_nor_takes_it(shop: Shop) -> None:
    old = pipeline.run_night(shop.settings, night(24))
    other = pipeline.begin(shop.settings, night(25))
    assert pipeline.run_stage(shop.settings, old.run_id, "report") == "done"
    store = RunStore.of(shop.settings)
    store.release(other.run_id)
    assert pipeline.run_stage(shop.settings, old.run_id, "report") == "done"
    assert store.try_lease(other.run_id, "elsewhere:1", 600)


def instance(dag_run: Any, task: str) -> Any:
    (found,) = (ti for ti in dag_run.get_task_instances() if ti.task_id == task)
    return found


def reschedules(task_instance: Any) -> int:
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        count = select(func.count()).where(TaskReschedule.ti_id == task_instance.id)
        return int(session.scalar(count))


def test_gives_up_waiting_in_time(
    airflow_night: Callable[..., Any],
    shop: Shop,
    tasks: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_WAIT", timedelta(seconds=1))
    monkeypatch.setenv("RECJOBS__SCHEDULE__WAIT_MINUTES", "0.04")
    other = pipeline.begin(shop.settings, night(20))
    dag_run = airflow_night(NIGHT)
    assert dag_run.state == "failed"
    assert states(dag_run)["begin"] == "failed"
    begin = instance(dag_run, "begin")
    assert (begin.try_number, reschedules(begin) >= 1) == (1, True)
    RunStore.of(shop.settings).release(other.run_id)


def test_the_asset_event_carries_the_runs_metrics(
    airflow_night: Callable[..., Any], shop: Shop, tasks: ModuleType
) -> None:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    assert airflow_night(NIGHT).state == "success"
    with create_session() as session:
        newest_event = select(AssetEvent).order_by(AssetEvent.id.desc()).limit(1)
        event = session.scalars(newest_event).one()
        assert event.asset.uri == "recjobs://shop/recommendations"
        extra = event.extra
    run = newest(shop)
    assert (extra["run_id"], extra["live"], extra["model"]) == (run.run_id, True, "ease")
    assert extra["as_of"] == "2026-01-25T00:00:00+00:00"
    assert 0 < extra["metrics"]["ndcg@10"] <= 1
    run_folder(run).remove()
    assert tasks.published(shop.settings, run.run_id) == extra  # the task alone, cleared later


def test_a_cleared_dag_run_is_fresh_and_a_retry_is_not(shop: Shop, tasks: ModuleType) -> None:
    from types import SimpleNamespace

    params = {
        "as_of": "2026-01-25", "model": None, "n": None, "dry_run": False, "fresh": False,
        "warm": None,
    }  # fmt: skip
    task = SimpleNamespace(xcom_push=lambda key, value: None)

    def begin(cleared: int) -> int:
        now = datetime(2026, 1, 25, 2, 30, tzinfo=UTC)
        dag_run = SimpleNamespace(
            dag_id="recjobs_shop", run_id="scheduled__1", clear_number=cleared,
            start_date=now, run_after=now, data_interval_end=now, run_type="scheduled",
        )  # fmt: skip
        run_id: int = tasks.begin(str(shop.config), params=params, dag_run=dag_run, ti=task)
        return run_id

    store = RunStore.of(shop.settings)
    first = begin(0)
    assert begin(0) == first  # a retry
    store.release(first)
    second = begin(1)
    assert store.get(second).supersedes == first
    assert begin(1) == second  # a retry after the clear
    store.release(second)
    assert store.get(begin(2)).supersedes == second
