"""One DAG per job: each TOML file in the folder that ``RECJOBS_JOBS`` names is ``recjobs_<job>``.

Wiring alone: what happens in a night is `recjobs.pipeline`, which the command line calls too. A
task calls one stage of it, and imports it only when it runs, so that parsing this file stays fast.
What to do when a task fails stands in recjobs_triage.md, beside this file and in the UI.

Triage: a red DAG run never means that lists were lost. What was live before is live still. Look at
the task ``verdict``: it says what failed and what to do.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import (
    DAG,
    Asset,
    BaseHook,
    BaseSensorOperator,
    Context,
    CronDataIntervalTimetable,
    ExceptionRetryPolicy,
    Param,
    PokeReturnValue,
    RetryAction,
    RetryRule,
    TriggerRule,
    chain,
)
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from recjobs import models
from recjobs.config import ScheduleSettings, Settings, load_settings, parse_as_of
from recjobs.errors import (
    ConfigError,
    DatabaseError,
    DataError,
    GateError,
    LeaseHeldError,
    RecJobsError,
)
from recjobs.progress import Progress

log = logging.getLogger(__name__)

JOBS_VARIABLE: Final = "RECJOBS_JOBS"
#: The stages of a night, spelled out: `pipeline.STAGES` is slow to import (a test compares them).
STAGES: Final = (
    "extract", "validate", "index", "train", "evaluate", "gate",
    "refit", "score", "check", "publish", "report", "verdict",
)  # fmt: skip
_TRIAGE: Final = Path(__file__).with_name("recjobs_triage.md")
_POKE_SECONDS: Final = 30.0
_PROGRESS_SECONDS: Final = 10.0
#: A stage that lost the job's lease to another run comes back after so long.
_LEASE_RETRY: Final = timedelta(minutes=10)
# The error tree (`recjobs.errors`): only what a retry can mend is retried. Anything else that is
# raised (a killed process, a full disk) falls through to Airflow's ordinary retries.
_RETRY_POLICY: Final = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[ConfigError, DataError, GateError],
            action=RetryAction.FAIL,
            reason="the same inputs and settings fail the same way: a person has to change them",
        ),
        RetryRule(
            exception=LeaseHeldError,
            retry_delay=_LEASE_RETRY,
            reason="another run of this job is at work",
        ),
        RetryRule(exception=DatabaseError, reason="the database may answer next time"),
    ]
)


# --- what the tasks do --------------------------------------------------------------------------


class Begin(BaseSensorOperator):
    """Opens the night's run and takes the job's lease; gives its slot back while it must wait."""

    def __init__(self, *, path: str, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=_POKE_SECONDS, **kwargs)
        self.path = path

    def poke(self, context: Context) -> PokeReturnValue:
        """Be done, with the run's id, unless another run holds the lease."""
        from recjobs import pipeline

        settings = job_settings(self.path)
        params, dag_run = context["params"], context["dag_run"]
        cleared = dag_run.clear_number or 0
        try:
            run = pipeline.begin(
                settings,
                resolve_as_of(params["as_of"], dag_run, settings.job.timezone),
                overrides=overrides(params),
                fresh=params["fresh"] or cleared > 0,
                dry_run=params["dry_run"],
                # Names this DAG run, cleared so often: a retry finds the run that it opened. The
                # times tell it from an earlier DAG run of the same name that was deleted.
                request=f"{dag_run.dag_id}/{dag_run.run_id}/{cleared}"
                f"/{dag_run.start_date}/{dag_run.run_after}",
            )
        except LeaseHeldError as held:
            self.log.info("Waiting, without a slot: %s", held)
            return PokeReturnValue(is_done=False)
        as_of = run.key.as_of.isoformat()
        self.log.info("Run %s, as of %s, model %s: %s", run.run_id, as_of, run.model, run.status)
        return PokeReturnValue(is_done=True, xcom_value=run.run_id)


def run_stage(path: str, stage: str, *, ti: Any) -> None:
    """Run one stage of the run that ``begin`` opened; skipped where the run has no use for it."""
    from recjobs import pipeline

    run_id = ti.xcom_pull(task_ids="begin")
    if run_id is None:
        raise AirflowSkipException("begin opened no run")
    state = pipeline.run_stage(job_settings(path), run_id, stage, log_progress(stage))
    if state == "skipped":
        raise AirflowSkipException(f"run {run_id} has no use for the stage {stage}")
    log.info("Stage %s of run %s: %s", stage, run_id, state)


def publish(path: str, asset: Asset, *, ti: Any, outlet_events: Any) -> None:
    """Publish, and tell those who wait for the asset what was published."""
    run_stage(path, "publish", ti=ti)
    run_id = ti.xcom_pull(task_ids="begin")
    outlet_events[asset].extra.update(published(job_settings(path), run_id))


def verdict(path: str, *, ti: Any) -> None:
    """Fail, and so end the DAG run failed, where the run was held or any task failed."""
    from recjobs import pipeline

    run_id = ti.xcom_pull(task_ids="begin")
    if run_id is None:
        raise AirflowFailException("begin opened no run: its log says why")
    settings = job_settings(path)
    # Asked first, so that a database that does not answer is retried; a verdict is final.
    pipeline.run_store(settings).get(run_id)
    try:
        run = pipeline.verdict(settings, run_id)
    except RecJobsError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
    states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])[ti.run_id]
    failed = [task for task, state in states.items() if state in ("failed", "upstream_failed")]
    if failed:
        raise AirflowFailException(f"run {run_id} is {run.status}; failed: {', '.join(failed)}")
    log.info("Run %s is %s: %s", run_id, run.status, run.rule or "no gate decided")


def resolve_as_of(given: str | None, dag_run: Any, timezone: str) -> datetime:
    """Return the night's as_of in UTC: the parameter, else the day on which the interval ends.

    The day is 00:00 in the job's time zone. A run without an interval (triggered by hand, without
    a logical date) takes the day that it was asked for, which a retry after midnight does not move.
    """
    if given:
        return parse_as_of(given, timezone)
    moment = dag_run.data_interval_end
    if moment is None:
        moment = dag_run.run_after
        log.warning("No data interval and no as_of parameter: as_of is the day of %s", moment)
    return parse_as_of(moment.astimezone(ZoneInfo(timezone)).date().isoformat(), timezone)


def overrides(params: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that the parameters replace, by dotted key."""
    values = {"model.name": params["model"], "score.n": params["n"]}
    return {key: value for key, value in values.items() if value is not None}


def job_settings(path: str) -> Settings:
    """Load a job's settings in a task, where Airflow's connections can be asked for."""
    settings = load_settings(path)
    for place in (settings.source, settings.target):
        if place.airflow_conn_id:
            connection = BaseHook.get_connection(place.airflow_conn_id)
            # `recjobs.config.Connection` reads it there, in this process and its children only.
            os.environ[f"AIRFLOW_CONN_{place.airflow_conn_id.upper()}"] = libpq_uri(connection)
    return settings


def libpq_uri(connection: Any) -> str:
    """Return an Airflow connection as a URI for libpq, without what only Airflow's hook reads."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    ignored = PostgresHook.ignored_extra_options
    extras = {k: v for k, v in connection.extra_dejson.items() if k not in ignored}
    uri = urlsplit(str(connection.get_uri()))
    return urlunsplit(("postgresql", uri.netloc, uri.path, urlencode(extras), ""))


def published(settings: Settings, run_id: int) -> dict[str, Any]:
    """Return what the asset's event says of a run: whether it is live, and how good it is."""
    import pyarrow.parquet as pq

    from recjobs import pipeline
    from recjobs.stages import run_folder

    store = pipeline.run_store(settings)
    run, live = store.get(run_id), store.live()
    rows = pq.read_table(run_folder(run).path("evaluate", "metrics.parquet")).to_pylist()
    return {
        "run_id": run_id,
        "as_of": run.key.as_of.isoformat(),
        "live": live is not None and live.run_id == run_id,
        "model": run.model,
        "decision": run.decision,
        "metrics": {
            row["metric"]: row["value"]
            for row in rows
            if (row["model"], row["segment"]) == (run.model, "all") and isfinite(row["value"])
        },
    }


def log_progress(stage: str) -> Progress:
    """Return a progress that writes a line to the task's log, at most every ten seconds."""
    said = time.monotonic()

    def progress(done: float, note: str = "") -> None:
        nonlocal said
        if time.monotonic() - said >= _PROGRESS_SECONDS:
            said = time.monotonic()
            log.info("%s: %3.0f %% %s", stage, 100 * done, note)

    return progress


# --- the DAGs -----------------------------------------------------------------------------------


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
    """Return the DAG of one job: ``begin``, then one task per stage, in a chain."""
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
    waiting = timedelta(minutes=schedule.wait_minutes)
    opening = Begin(
        task_id="begin", path=str(path), timeout=waiting, doc_md=triage()["begin"], dag=dag
    )
    asset = Asset(f"recjobs://{name}/recommendations")
    chain(opening, *(stage_task(dag, stage, path, asset) for stage in STAGES))
    return dag


def stage_task(dag: DAG, stage: str, path: Path, asset: Asset) -> PythonOperator:
    """Return the task of one stage."""
    task: dict[str, Any] = {
        "python_callable": run_stage,
        "op_kwargs": {"path": str(path), "stage": stage},
        # After a skipped stage the next one runs: popularity's lists need no `refit`.
        "trigger_rule": TriggerRule.NONE_FAILED,
    }
    if stage == "publish":
        task |= {"python_callable": publish, "outlets": [asset]}
        task["op_kwargs"] = {"path": str(path), "asset": asset}
    if stage == "verdict":
        task |= {"python_callable": verdict, "op_kwargs": {"path": str(path)}}
    if stage in ("report", "verdict"):
        task["trigger_rule"] = TriggerRule.ALL_DONE
    return PythonOperator(task_id=stage, doc_md=triage()[stage], dag=dag, **task)


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
