"""What the tasks of a DAG do: each calls `recjobs.pipeline`, as the command line does too.

The pipeline is imported when a task runs, not when the DAGs are parsed.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

from airflow.sdk import Asset, BaseHook
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)

from recjobs.config import Settings, load_settings
from recjobs.errors import LeaseHeldError, RecJobsError
from recjobs.instants import parse_as_of
from recjobs.progress import Progress

log = logging.getLogger(__name__)

_WAIT: Final = timedelta(seconds=30)  #: for the lease, until the next try
_PROGRESS_SECONDS: Final = 10.0


def begin(path: str, *, params: dict[str, Any], dag_run: Any, ti: Any) -> int:
    """Open the night's run, or find it, and take the job's lease; return the run's id."""
    from recjobs import pipeline
    from recjobs.runs import FINISHED

    settings = job_settings(path)
    cleared = dag_run.clear_number or 0
    warm = dag_run.run_type != "backfill" if params["warm"] is None else params["warm"]
    with awaiting_lease(settings, ti):
        run = pipeline.begin(
            settings,
            resolve_as_of(params["as_of"], dag_run, settings.job.timezone),
            overrides=overrides(params, settings),
            fresh=params["fresh"] or cleared > 0,
            dry_run=params["dry_run"],
            # Names this DAG run, cleared so often: a retry finds the run that it opened. The times
            # tell it from an earlier DAG run of the same name that was deleted.
            request=f"{dag_run.dag_id}/{dag_run.run_id}/{cleared}"
            f"/{dag_run.start_date}/{dag_run.run_after}",
            warm=warm,
        )
    as_of = run.key.as_of.isoformat()
    log.info("Run %s, as of %s, model %s: %s", run.run_id, as_of, run.model, run.status)
    ti.xcom_push(key="finished", value=run.status in FINISHED)
    return run.run_id


def run_stage(path: str, stage: str, shard: str | None = None, *, ti: Any) -> None:
    """Run one stage, or a shard of it (``"2/4"``), of the run that ``begin`` opened.

    Skipped where there is nothing to do.
    """
    from recjobs import pipeline
    from recjobs.shards import Shard

    run_id = ti.xcom_pull(task_ids="begin")
    if run_id is None:
        raise AirflowSkipException("begin opened no run")
    if ti.xcom_pull(task_ids="begin", key="finished"):
        raise AirflowSkipException(f"run {run_id} of this night was finished before")
    settings = job_settings(path)
    share = Shard.parse(shard) if shard else None
    name = f"{stage} {shard}" if shard else stage
    with awaiting_lease(settings, ti):
        state = pipeline.run_stage(settings, run_id, stage, log_progress(name), share)
    if state == "skipped":
        raise AirflowSkipException(f"run {run_id} has no use for the stage {stage}")
    log.info("Stage %s of run %s: %s", name, run_id, state)


def publish(path: str, asset: Asset, *, ti: Any, outlet_events: Any) -> None:
    """Publish, and tell those who wait for the asset what was published."""
    run_stage(path, "publish", ti=ti)
    run_id = ti.xcom_pull(task_ids="begin")
    outlet_events[asset].extra.update(published(job_settings(path), run_id))


def verdict(path: str, *, ti: Any) -> None:
    """Fail, and so end the DAG run failed, where the run was held or any task failed."""
    from recjobs import pipeline
    from recjobs.runs import RunStore

    run_id = ti.xcom_pull(task_ids="begin")
    if run_id is None:
        raise AirflowFailException("begin opened no run: its log says why")
    settings = job_settings(path)
    # Asked first, so that a database that does not answer is retried; a verdict is final.
    RunStore.of(settings).get(run_id)
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


def overrides(params: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the settings that the parameters replace, by dotted key; none where they agree."""
    found: dict[str, Any] = {}
    if params["model"] not in (None, settings.model.name):
        found["model.name"] = params["model"]
    if params["n"] not in (None, settings.score.n):
        found["score.n"] = params["n"]
    return found


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
    # Put together by hand: urlunsplit leaves the // out where there is neither login nor host, and
    # a space as + is a plus to libpq.
    options = f"?{urlencode(extras, quote_via=quote)}" if extras else ""
    return f"postgresql://{uri.netloc}{uri.path}{options}"


def published(settings: Settings, run_id: int) -> dict[str, Any]:
    """Return what the asset's event says of a run: whether it is live, and how good it is."""
    from recjobs.runs import RunStore

    store = RunStore.of(settings)
    run, live = store.get(run_id), store.live()
    return {
        "run_id": run_id,
        "as_of": run.key.as_of.isoformat(),
        "live": live is not None and live.run_id == run_id,
        "model": run.model,
        "decision": run.decision,
        # Of the table: files of a run that is stored may have been removed since.
        "metrics": store.metrics(run_id, run.model),
    }


@contextmanager
def awaiting_lease(settings: Settings, ti: Any) -> Iterator[None]:
    """While another run holds the job's lease, give the slot back and come again later.

    Not a retry, and so not counted as one; and not only at the beginning, for a run can lose the
    lease between two stages.
    """
    try:
        yield
    except LeaseHeldError as held:
        now = datetime.now(UTC)
        since = ti.get_first_reschedule_date(ti.get_template_context()) or now
        if now - since > timedelta(minutes=settings.schedule.wait_minutes):
            raise AirflowFailException(f"waited since {since}: {held}") from held
        log.info("Waiting, without a slot: %s", held)
        raise AirflowRescheduleException(now + _WAIT) from held  # type: ignore[no-untyped-call]


def log_progress(stage: str) -> Progress:
    """Return a progress that writes a line to the task's log, at most every ten seconds."""
    said = time.monotonic()

    def progress(done: float, note: str = "") -> None:
        nonlocal said
        if time.monotonic() - said >= _PROGRESS_SECONDS:
            said = time.monotonic()
            log.info("%s: %3.0f %% %s", stage, 100 * done, note)

    return progress
