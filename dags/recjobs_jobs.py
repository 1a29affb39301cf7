"""One DAG per job: each TOML file in the folder that ``RECJOBS_JOBS`` names is ``recjobs_<job>``.

Wiring alone: schedule, retries, pool, parameters. What the tasks do is recjobs_tasks.py, and what
to do when one fails stands in recjobs_triage.md, both beside this file.

Triage: a red DAG run never means that lists were lost; what was live before is live still. Look at
the task ``verdict``: it says what failed and what to do.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    Asset,
    CronDataIntervalTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    TriggerRule,
    chain,
)
from airflow.sdk.exceptions import AirflowFailException

from recjobs import models
from recjobs.config import ScheduleSettings, Settings, load_settings
from recjobs.errors import ConfigError, DatabaseError, DataError, GateError
from recjobs.instants import parse_as_of

# Airflow puts its DAG folder on the path, not the folder in it that these files may be in.
if (_HERE := str(Path(__file__).parent)) not in sys.path:
    sys.path.append(_HERE)

import recjobs_tasks as tasks

if TYPE_CHECKING:
    from airflow.sdk.definitions.mappedoperator import MappedOperator

JOBS_VARIABLE: Final = "RECJOBS_JOBS"
#: The stages of a night, spelled out: `pipeline.STAGES` is slow to import (a test compares them).
STAGES: Final = (
    "extract", "validate", "index", "train", "evaluate", "gate",
    "refit", "score", "check", "publish", "report", "verdict",
)  # fmt: skip
#: Those that a job with `schedule.shards` does a share of the users at a time, before the rest.
SHARDED: Final = ("score", "publish")
_TRIAGE: Final = Path(__file__).with_name("recjobs_triage.md")
# The error tree (`recjobs.errors`): only what a retry can mend is retried. Anything else that is
# raised (a killed process, a full disk) falls through to Airflow's ordinary retries.
_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[ConfigError, DataError, GateError],
            action=RetryAction.FAIL,
            reason="the same inputs and settings fail the same way: a person has to change them",
        ),
        RetryRule(exception=DatabaseError, reason="the database may answer next time"),
    ]
)


def job_dags(folder: Path) -> Iterator[DAG]:
    """Give a DAG for each settings file; one that does not load becomes a DAG that says why."""
    taken: dict[str, Path] = {}
    broken: dict[Path, str] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            dag = job_dag(path)
            if dag.dag_id in taken:
                raise ConfigError(f"{taken[dag.dag_id]} names its job {dag.dag_id!r} too")
        except Exception as error:  # whatever it is, the other jobs' DAGs stay up
            broken[path] = f"{type(error).__name__}: {error}"
            continue
        taken[dag.dag_id] = path
        yield dag
    for path, reason in broken.items():
        dag_id = f"recjobs_{re.sub(r'[^A-Za-z0-9_.-]', '_', path.stem)}"
        while dag_id in taken:
            dag_id += "_broken"
        taken[dag_id] = path
        yield broken_dag(dag_id, path, reason)


def job_dag(path: Path) -> DAG:
    """Return the DAG of one job: ``begin``, then one task per stage, in a chain.

    Before a stage that has shards, where the job has more than one, comes a mapped task of them.
    """
    settings = load_settings(path)
    schedule, name = settings.schedule, settings.job.name
    about = {"job": name, "schema": settings.job.db_schema, "pool": schedule.pool}
    # Never `with DAG(...)`: that registers it at once, though a task may yet be refused.
    dag = DAG(
        f"recjobs_{name}",
        description=f"Recommendations of the job {name}, every night",
        doc_md=triage()["dag"].format(file=path.name, **about),
        schedule=CronDataIntervalTimetable(schedule.cron, timezone=schedule.timezone),
        start_date=parse_as_of(schedule.start_date, schedule.timezone),
        catchup=schedule.catchup,
        max_active_runs=1,
        tags=["recjobs", name],
        params=dag_params(settings),
        default_args=default_args(schedule),
    )
    dag.validate()  # type: ignore[no-untyped-call]
    asset = Asset(f"recjobs://{name}/recommendations")
    chained: list[PythonOperator | MappedOperator] = []
    for name in ("begin", *STAGES):
        if name in SHARDED and schedule.shards > 1:
            chained.append(shard_tasks(dag, name, path, schedule.shards))
        chained.append(job_task(dag, name, path, asset))
    chain(*chained)
    return dag


def job_task(dag: DAG, name: str, path: Path, asset: Asset) -> PythonOperator:
    """Return ``begin`` or the task of one stage."""
    task: dict[str, Any] = {
        "python_callable": tasks.run_stage,
        "op_kwargs": {"path": str(path), "stage": name},
        # After a skipped stage the next one runs: popularity's lists need no `refit`.
        "trigger_rule": TriggerRule.NONE_FAILED,
    }
    if name in ("begin", "verdict"):
        task["python_callable"] = tasks.begin if name == "begin" else tasks.verdict
        task["op_kwargs"] = {"path": str(path)}
    if name == "publish":
        task |= {"python_callable": tasks.publish, "outlets": [asset]}
        task["op_kwargs"] = {"path": str(path), "asset": asset}
    if name in ("report", "verdict"):
        task["trigger_rule"] = TriggerRule.ALL_DONE
    return PythonOperator(task_id=name, doc_md=triage()[name], dag=dag, **task)


def shard_tasks(dag: DAG, stage: str, path: Path, of: int) -> MappedOperator:
    """Return a task mapped over the shards of a stage, any of which can be tried again alone."""
    shards = [f"{number}/{of}" for number in range(1, of + 1)]
    return PythonOperator.partial(
        task_id=f"{stage}_shards",
        python_callable=tasks.run_stage,
        trigger_rule=TriggerRule.NONE_FAILED,
        map_index_template="{{ task.op_kwargs['shard'] }}",
        doc_md=triage()[f"{stage}_shards"],
        dag=dag,
    ).expand(op_kwargs=[{"path": str(path), "stage": stage, "shard": shard} for shard in shards])


def broken_dag(dag_id: str, path: Path, reason: str) -> DAG:
    """Return a DAG of one task, which fails with the reason."""
    notes = triage()["broken"].format(file=path.name, reason=reason.replace("\n", "\n    "))

    def settings() -> None:
        raise AirflowFailException(reason)

    dag = DAG(dag_id, schedule=None, tags=["recjobs", "broken"], doc_md=notes)
    PythonOperator(
        task_id="settings",
        python_callable=settings,
        owner="recjobs",
        retries=0,
        doc_md=notes,
        dag=dag,
    )
    return dag


def dag_params(settings: Settings) -> dict[str, Param]:
    """Return the parameters of a run, typed: Airflow checks them and makes a form of them."""
    names = [None, *sorted(models.REGISTRY)]
    text = ["null", "string"]
    return {
        "as_of": Param(
            None,
            type=text,
            format="date",
            description="The night: only interactions before 00:00 of this day "
            f"({settings.job.timezone}) exist. Default: the day on which the data interval ends.",
        ),
        "model": Param(
            None,
            type=text,
            enum=names,
            description=f"Another model than {settings.model.name}. Goes live by promote only.",
        ),
        "n": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            maximum=1000,
            description=f"Another length than {settings.score.n}. Goes live by promote only.",
        ),
        "dry_run": Param(
            False, type="boolean", description="Stop after check: no published table is touched."
        ),
        "warm": Param(
            None,
            type=["null", "boolean"],
            description="Start from an earlier night's weights, where [train] says so. Default: "
            "yes, but not in a backfill.",
        ),
        "fresh": Param(
            False, type="boolean", description="Extract again, as a run that supersedes the last."
        ),
    }


def default_args(schedule: ScheduleSettings) -> dict[str, Any]:
    """Return what all tasks of a job share."""
    shared: dict[str, Any] = {
        "owner": schedule.owner,
        "pool": schedule.pool,
        "retries": schedule.retries,
        "retry_delay": timedelta(seconds=schedule.retry_delay_seconds),
        "retry_policy": _RETRY_POLICY,
        "execution_timeout": timedelta(minutes=schedule.stage_timeout_minutes),
    }
    return shared | ({"queue": schedule.queue} if schedule.queue else {})


@functools.cache
def triage() -> dict[str, str]:
    """Return the triage notes by task; ``"dag"`` and ``"broken"`` are templates."""
    parts = re.split(r"^# (\w+)\n", _TRIAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _jobs_folder() -> Path:
    folder = os.environ.get(JOBS_VARIABLE)
    if not folder or not Path(folder).is_dir():
        raise ConfigError(
            f"{JOBS_VARIABLE} should name the folder of the jobs' TOML files, in the environment "
            f"of every Airflow component. Received: {folder!r}"
        )
    return Path(folder).resolve()


globals().update({dag.dag_id: dag for dag in job_dags(_jobs_folder())})
