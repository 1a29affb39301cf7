"""The DAGs as Airflow parses them: no database of a job is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from recjobs import errors, models, pipeline, stages

pytestmark = pytest.mark.filterwarnings("ignore:::airflow", "ignore:::pathspec")

DAGS = Path(__file__).resolve().parents[2] / "dags"
SOURCE = '[source]\ntable = "clicks"\n'


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    (tmp_path / "shop.toml").write_text(
        f'{SOURCE}[job]\nschema = "shop_recs"\n'
        "[schedule]\n"
        'cron = "15 4 * * *"\ntimezone = "Europe/Paris"\nstart_date = "2026-03-01"\n'
        'owner = "maria"\npool = "nightly"\nqueue = "large"\nretries = 5\n'
        "retry_delay_seconds = 7\nstage_timeout_minutes = 45\n"
    )
    (tmp_path / "films.toml").write_text(SOURCE)
    return tmp_path


@pytest.fixture
def dag(dags: Callable[[Path], Any], jobs: Path) -> Any:
    return dags(jobs).dags["recjobs_shop"]


def test_every_job_has_a_dag_and_no_file_fails(dags: Callable[[Path], Any], jobs: Path) -> None:
    bag = dags(jobs)
    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["recjobs_films", "recjobs_shop"]


def test_one_task_per_stage_in_a_chain(dag: Any) -> None:
    chain = ["begin", *pipeline.STAGES]
    assert list(dag.task_dict) == chain
    for task, following in pairwise(chain):
        assert dag.get_task(task).downstream_task_ids == {following}
    assert dag.get_task("verdict").downstream_task_ids == set()


def test_shards_are_mapped_before_the_stage_that_waits_for_them_all(
    dags: Callable[[Path], Any], jobs: Path
) -> None:
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    (jobs / "large.toml").write_text(f"{SOURCE}[schedule]\nshards = 3\npool = 'nightly'\n")
    bag = dags(jobs)
    assert bag.import_errors == {}
    dag = bag.dags["recjobs_large"]
    chain = ["begin", *pipeline.STAGES]
    for stage in stages.SHARDED:
        chain.insert(chain.index(stage), f"{stage}_shards")
    assert list(dag.task_dict) == chain
    for task, following in pairwise(chain):
        assert dag.get_task(task).downstream_task_ids == {following}
    for stage in stages.SHARDED:
        mapped = dag.get_task(f"{stage}_shards")
        assert isinstance(mapped, MappedOperator)
        asked = mapped.expand_input.value["op_kwargs"]
        assert [(a["stage"], a["shard"]) for a in asked] == [
            (stage, "1/3"), (stage, "2/3"), (stage, "3/3")
        ]  # fmt: skip
        assert mapped.pool == "nightly"
    assert {t.task_id: t.outlets for t in dag.tasks if t.outlets}.keys() == {"publish"}


def test_schedule_comes_from_the_settings(dag: Any) -> None:
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("15 4 * * *", "Europe/Paris")
    assert dag.start_date.isoformat() == "2026-02-28T23:00:00+00:00"
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_policy_of_every_task(dags: Callable[[Path], Any], jobs: Path) -> None:
    (jobs / "large.toml").write_text(f"{SOURCE}[schedule]\nshards = 3\n")
    for dag in dags(jobs).dags.values():
        assert {"recjobs", dag.dag_id.removeprefix("recjobs_")} <= dag.tags
        assert "If you were paged" in dag.doc_md
        for task in dag.tasks:
            for promise in ("**Does:**", "**Fails when:**", "**At 3 a.m.:**"):
                assert promise in task.doc_md, task.task_id
            assert task.owner != "airflow"
            assert task.retries > 0
            assert task.retry_policy is not None
            assert task.execution_timeout is not None
    shop = dags(jobs).dags["recjobs_shop"]
    for task in shop.tasks:
        assert (task.owner, task.pool, task.queue, task.retries) == ("maria", "nightly", "large", 5)
        assert task.retry_delay == timedelta(seconds=7)
        assert task.execution_timeout == timedelta(minutes=45)


def test_a_stage_follows_a_skipped_one_and_the_end_follows_a_failure(dag: Any) -> None:
    rules = {task.task_id: str(task.trigger_rule.value) for task in dag.tasks}
    assert rules.pop("report") == rules.pop("verdict") == "all_done"
    assert set(rules.values()) == {"none_failed"}


def test_publish_announces_the_jobs_lists(dag: Any) -> None:
    outlets = {task.task_id: [o.uri for o in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {"publish": ["recjobs://shop/recommendations"]}


def test_survives_serialization(dags: Callable[[Path], Any], jobs: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    (jobs / "broken.toml").write_text("[source")
    (jobs / "large.toml").write_text(f"{SOURCE}[schedule]\nshards = 3\n")
    for dag in dags(jobs).dags.values():
        data = DagSerialization.to_dict(dag)
        json.dumps(data)
        back = DagSerialization.from_dict(data)
        assert [t.task_id for t in back.tasks] == [t.task_id for t in dag.tasks]
        assert DagSerialization.to_dict(dag) == data


@pytest.mark.parametrize(
    ("params", "fits"),
    [
        ({}, True),
        ({"as_of": "2026-01-31", "model": "ease", "n": 20, "dry_run": True, "fresh": True}, True),
        ({"as_of": "yesterday"}, False),
        ({"model": "svd"}, False),
        ({"n": 0}, False),
        ({"n": "ten"}, False),
        ({"dry_run": "perhaps"}, False),
    ],
)
def test_parameters_are_typed(dag: Any, params: dict[str, Any], fits: bool) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    if fits:
        dag.params.update(params)
        dag.params.validate()
    else:
        with pytest.raises(ParamValidationError):
            dag.params.update(params)


def test_the_model_parameter_knows_the_registry(dag: Any) -> None:
    assert dag.params.get_param("model").schema["enum"] == [None, *sorted(models.REGISTRY)]


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (errors.ConfigError, "fail"),
        (errors.DataError, "fail"),
        (errors.CheckFailedError, "fail"),
        (errors.GateError, "fail"),
        (errors.DatabaseError, "retry"),
        (errors.LeaseHeldError, "retry"),
        (ConnectionResetError, "default"),
        (MemoryError, "default"),
    ],
)
def test_retries_follow_the_error_tree(dag: Any, error: type[Exception], action: str) -> None:
    policy = dag.get_task("train").retry_policy
    assert policy.evaluate(error("x"), try_number=1, max_tries=5).action.value == action


# --- a settings file that does not load ---------------------------------------------------------

BROKEN = {
    "syntax": ("[source", "TOML"),
    "unknown": (f"{SOURCE}[model]\nnmae = 'mf'\n", "did you mean 'name'"),
    "cron": (f"{SOURCE}[schedule]\ncron = '61 * * * *'\n", "61"),
    "zone": (f"{SOURCE}[schedule]\ntimezone = 'Mars/Olympus'\n", "Mars/Olympus"),
    "start": (f"{SOURCE}[schedule]\nstart_date = 'soon'\n", "soon"),
    "twin": (f"{SOURCE}[job]\nname = 'shop'\n", "shop.toml"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_becomes_a_dag_that_says_why(
    dags: Callable[[Path], Any], jobs: Path, name: str
) -> None:
    text, reason = BROKEN[name]
    (jobs / f"{name}.toml").write_text(text)
    bag = dags(jobs)
    assert bag.import_errors == {}
    assert sorted(bag.dags) == sorted(["recjobs_films", "recjobs_shop", f"recjobs_{name}"])
    assert len(bag.dags["recjobs_shop"].tasks) == len(pipeline.STAGES) + 1
    dag = bag.dags[f"recjobs_{name}"]
    assert dag.task_ids == ["settings"]
    assert re.search(reason, dag.doc_md)
    assert re.search(reason, dag.get_task("settings").doc_md)
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=reason):
        dag.get_task("settings").python_callable()


def test_a_broken_file_never_takes_another_jobs_name(
    dags: Callable[[Path], Any], jobs: Path
) -> None:
    (jobs / "a.toml").write_text(f"{SOURCE}[job]\nname = 'b'\n")
    (jobs / "b.toml").write_text("[source")
    bag = dags(jobs)
    assert bag.import_errors == {}
    assert len(bag.dags["recjobs_b"].tasks) > 1
    assert bag.dags["recjobs_b_broken"].task_ids == ["settings"]


def test_a_refused_password_is_not_shown(dags: Callable[[Path], Any], jobs: Path) -> None:
    (jobs / "leak.toml").write_text(f"{SOURCE}dsn = 'postgresql://me:hunter2@db/shop'\n")
    dag = dags(jobs).dags["recjobs_leak"]
    assert "must hold no password" in dag.doc_md
    assert "hunter2" not in dag.doc_md


def test_a_missing_folder_of_jobs_is_an_import_error(dags: Callable[[Path], Any]) -> None:
    bag = dags(Path("/nowhere"))
    (message,) = bag.import_errors.values()
    assert "RECJOBS_JOBS should name the folder" in message


# --- what parsing costs -------------------------------------------------------------------------


def test_parsing_is_light(airflow_home: Path, jobs: Path) -> None:
    for n in range(10):
        (jobs / f"more{n}.toml").write_text(SOURCE)
    code = (
        "import json, sys\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "import airflow.providers.standard.operators.python\n"
        "before = set(sys.modules)\n"
        "bag = DagBag(sys.argv[1])\n"
        "ours = sorted({m.split('.')[0] for m in set(sys.modules) - before})\n"
        "print(json.dumps([ours, len(bag.dags)]))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(DAGS)],
        env={**os.environ, "RECJOBS_JOBS": str(jobs)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    imported, count = json.loads(said.splitlines()[-1])
    assert count == 12
    heavy = {"tensorflow", "keras", "pandas", "sklearn", "scipy", "numba", "pyarrow", "psycopg2"}
    assert heavy.isdisjoint(imported)


def test_tasks_module_is_found_from_a_subfolder(
    airflow_home: Path, jobs: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("dag_folder")
    (folder / "team").symlink_to(DAGS)
    code = (
        "import sys\nfrom airflow.dag_processing.dagbag import DagBag\n"
        "bag = DagBag(sys.argv[1])\nprint(bag.import_errors, sorted(bag.dags))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        env={**os.environ, "RECJOBS_JOBS": str(jobs)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.splitlines()[-1] == "{} ['recjobs_films', 'recjobs_shop']"
