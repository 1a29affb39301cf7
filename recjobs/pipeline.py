"""The night: which stages, in which order, and what one stage hands to the next.

The command line, the DAGs and the tests all come through here. A run is a row in the database and
a folder of artifacts; a stage turns artifacts into more artifacts (`stages`). A stage that has
committed does not run again, so a run resumes where it stopped, in any process.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from recjobs import __version__, db, errors, stages
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.errors import ConfigError, DatabaseError, GateError, LeaseHeldError, RecJobsError
from recjobs.expectations import Outcome, require
from recjobs.progress import Progress, silent
from recjobs.runs import FINISHED, Run, RunKey, RunStore
from recjobs.shards import Shard
from recjobs.stages import Night, run_folder

StageState = Literal["done", "reused", "skipped"]
#: Draws one stage's progress; left with an error, it shows the stage as failed.
Watch = Callable[[str], AbstractContextManager[Progress]]

STAGES: Final = (*stages.WORK, "verdict")
#: Sections that a run may override; the others say where things are, not what a list is.
_OVERRIDABLE: Final = (
    "feedback", "holdout", "validate", "model", "train", "evaluate", "gate", "score", "rerank",
    "check"
)  # fmt: skip
#: The user and the password of a URL: what is recorded of an error is read by more people.
_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@")
#: After the gate held the model, only these have something left to do.
_AFTER_HOLD: Final = ("report", "verdict")


def run_night(
    settings: Settings,
    as_of: datetime,
    *,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Run a whole night and return its run; a night of the same key that is finished is returned.

    Raises:
        RecJobsError: A stage failed, or the gate held the model; the report is written all the
            same, and what was live stays live.
    """
    run = begin(settings, as_of, overrides=overrides, fresh=fresh, dry_run=dry_run)
    return finish(settings, run, watch=watch)


def finish(settings: Settings, run: Run, *, watch: Watch | None = None) -> Run:
    """Run what is left of an opened run and return it as it ended; raises as `run_night` does."""
    if run.status not in FINISHED:
        run_stages(settings, run.run_id, watch=watch)
    return verdict(settings, run.run_id)


def run_stages(settings: Settings, run_id: int, *, watch: Watch | None = None) -> None:
    """Run what is left of a run, stage by stage; the report follows a failure too."""
    watch = watch or _unwatched

    def run(stage: str) -> None:
        with watch(stage) as progress:
            state = run_stage(settings, run_id, stage, progress)
            if state != "done":
                progress(1.0, state)

    try:
        for stage in STAGES[: STAGES.index("report")]:
            run(stage)
    except Exception:
        with suppress(Exception):  # the night's own failure is the one to be told
            run("report")
        raise
    else:
        run("report")
    finally:
        run_store(settings).release(run_id)


def begin(
    settings: Settings,
    as_of: datetime,
    *,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    request: str | None = None,
    warm: bool = True,
) -> Run:
    """Open the run of this key, or find it, and take the job's lease for it.

    Args:
        settings: The job's settings.
        as_of: Only interactions before it exist for this run.
        overrides: Settings by dotted key, such as ``{"model.name": "ease"}``; a run with any does
            not go live by itself.
        fresh: Extract again, as a new run that supersedes the newest one of the same key.
        dry_run: Stop after ``check``; no published table is touched.
        request: Names the attempt (an Airflow DAG run); the same name gives the same run.
        warm: Whether a new run may start from an earlier night's weights, as ``[train]`` says.

    Raises:
        LeaseHeldError: Another run of this job is at work.
        ConfigError: A setting does not fit, or the tables were never migrated.
    """
    from recjobs import models

    if as_of > datetime.now(UTC) + timedelta(days=1):
        raise ConfigError(
            f"as_of: expected tomorrow at the latest. Received: {as_of:%Y-%m-%d %H:%M %Z}. "
            "Were it live, no night before it could go live by itself."
        )
    overrides = dict(overrides or {})
    _require_overridable(overrides)
    if overrides.get("model.name", settings.model.name) != settings.model.name:
        # Hyperparameters are a model's own: another one takes its defaults.
        overrides = {"model.params": {}, **overrides}
    settings = settings.with_overrides(overrides)
    models.check_params(settings.model.name, settings.model.params)
    if settings.score.similar_users:
        models.require_vectors(settings.model.name)
    key = RunKey(
        as_of=as_of.astimezone(UTC),
        settings_hash=settings.hash(),
        code_version=code_version(),
        seed=settings.job.seed,
        training_threads=settings.job.training_threads,
    )
    store = run_store(settings)
    run = store.open(
        key,
        job=settings.job.name,
        model=settings.model.name,
        overrides=overrides,
        dry_run=dry_run,
        fresh=fresh,
        request=request,
        host=socket.gethostname(),
        artifacts=_new_folder(settings),
        cold_every=_cold_every(settings) if warm else None,
    )
    if run.status not in FINISHED:
        with _lease(store, settings, run.run_id):  # taken, and kept for the first stage
            moved = _moved(run, settings)
            store.update(run.run_id, status="running", error=None, dry_run=dry_run, **moved)
        run = store.get(run.run_id)
    return run


def run_stage(
    settings: Settings,
    run_id: int,
    stage: str,
    progress: Progress = silent,
    shard: Shard | None = None,
) -> StageState:
    """Run one stage of a run, unless it has committed or the run has no use for it.

    A shard of a stage is run beside the others, in as many processes; the stage itself, run after
    them, does what none of them has done.

    Returns:
        ``"done"``, ``"reused"`` (it had committed before) or ``"skipped"`` (after a hold, in a dry
        run, or where the lists are popularity's and no model is fitted).

    Raises:
        RecJobsError: The stage failed; the run's row says so.
    """
    if stage not in STAGES:
        raise ConfigError(f"stage: expected one of {', '.join(STAGES)}. Received: {stage!r}")
    if shard and stage not in stages.SHARDED:
        raise ConfigError(
            f"shard: expected a stage that has shards, {' or '.join(stages.SHARDED)}. "
            f"Received: {stage!r}"
        )
    if shard and shard.of != settings.schedule.shards:
        raise ConfigError(
            f"shard: expected one of {settings.schedule.shards}, as schedule.shards says. "
            f"Received: {shard}"
        )
    if stage == "verdict":
        verdict(settings, run_id)
        return "done"
    store = run_store(settings)
    try:
        night = _night(settings, store.get(run_id))
        if not _needed(night, stage):
            return "skipped"
        if night.run.status == "stored" and stage not in _AFTER_HOLD:
            return "reused"  # not looked at: its artifacts may be kept no longer
        if stage == "report":
            # Nothing that another run reads: made anew for an old run, it neither waits nor blocks.
            return _work(night, stage, progress)
        _require_same_code(night.run)
        with _lease(store, night.settings, run_id, f"{stage} {shard}" if shard else ""):
            _require_before(night, stage)
            return _share(night, stage, shard, progress) if shard else _work(night, stage, progress)
    except LeaseHeldError:
        raise  # it waits: nothing of it has failed
    except Exception as error:
        if stage != "report" and store.get(run_id).status not in FINISHED:
            of_shard = f"shard {shard}: " if shard else ""
            message = _CREDENTIALS.sub("//…@", f"{type(error).__name__}: {of_shard}{error}")
            store.update(run_id, status="failed", stage=stage, error=message)
        raise


def verdict(settings: Settings, run_id: int) -> Run:
    """Return the run where it ended well, and give the job's lease back.

    Raises:
        GateError: The gate held the model.
        RecJobsError: A stage failed; of the class that the stage raised.
    """
    store = run_store(settings)
    store.release(run_id)
    run = store.get(run_id)
    if run.status == "failed":
        name, _, message = (run.error or "RecJobsError: unknown").partition(": ")
        kind = getattr(errors, name, RecJobsError)
        raise kind(f"run {run_id} failed in stage {run.stage}: {message}")
    if run.status == "running":
        raise DatabaseError(f"run {run_id} is not finished: its last stage is {run.stage}")
    if run.status == "held" or run.decision == "hold":
        live = "popularity lists were published" if run.status == "stored" else "nothing changed"
        raise GateError(f"run {run_id} is held, {live}: {run.rule}")
    return run


def promote(
    settings: Settings, run_id: int, *, why: str, by: str, watch: Watch | None = None
) -> Run:
    """Make a run live because a person says so: a held one from refit on, a stored one at once.

    Raises:
        DataError: The run's lists are incomplete or hold seen items.
        ConfigError: The run failed, or its artifacts are gone.
    """
    from recjobs import publish

    store = run_store(settings)
    run = store.get(run_id)
    if run.status != "stored":
        _finish_promoted(settings, run, rule=f"promoted by {by}: {why}", watch=watch)
        run = store.get(run_id)
    publish.promote(settings.target.resolve(), settings, run, by=by, why=why)
    return store.get(run_id)


def _finish_promoted(settings: Settings, run: Run, *, rule: str, watch: Watch | None) -> None:
    """Run a held or dry run from refit on; a promotion that failed on the way goes on."""
    if run.status not in ("held", "dry_run") and run.decision != "promoted":
        raise ConfigError(
            f"run {run.run_id}: expected a held, dry or stored run. Received: {run.status}"
        )
    for stage in STAGES[: STAGES.index("refit")]:
        run_folder(run).manifest(stage)  # else it would extract and train another model than held
    store = run_store(settings)
    with _lease(store, settings, run.run_id):
        if run.published_source == POPULAR:  # a dry run that the gate held: no lists of the model's
            folder = run_folder(run)
            parts = folder.parts("score") if folder.finished("score") else []
            folder.remove("check", "score", *parts)
        store.update(
            run.run_id,
            status="running",
            error=None,
            dry_run=False,
            decision="promoted",
            rule=rule,
            published_source="model",
        )
    run_stages(settings, run.run_id, watch=watch)


def backfill_days(settings: Settings, since: datetime, until: datetime) -> Iterator[datetime]:
    """Give the as_of of every night in ``[since, until)``, a day apart in the job's time zone."""
    zone = ZoneInfo(settings.job.timezone)
    local = since.astimezone(zone)
    while local.astimezone(UTC) < until:
        yield local.astimezone(UTC)
        # Wall-clock arithmetic in the zone: a night stays at 00:00 over a change of the clocks.
        local += timedelta(days=1)


def run_store(settings: Settings) -> RunStore:
    """Return the job's run tables."""
    return RunStore(settings.target.resolve(), settings.job.db_schema)


@cache
def code_version() -> str:
    """Return the version and a digest of the package's own sources, which decide the lists."""
    package = Path(str(resources.files("recjobs")))
    digest = hashlib.sha256()
    for root, pattern in ((package, "*.py"), (db.sql_folder(), "*.sql")):
        for path in sorted(root.rglob(pattern)):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"


def _unwatched(stage: str) -> AbstractContextManager[Progress]:
    return nullcontext(silent)


def _lease(
    store: RunStore, settings: Settings, run_id: int, part: str = ""
) -> AbstractContextManager[None]:
    lease = settings.lease
    holder = f"{socket.gethostname()}:{os.getpid()}"
    return store.lease(run_id, holder, lease.ttl_seconds, lease.handover_seconds, part)


def _new_folder(settings: Settings) -> str:
    """Return a folder of a run's own: run ids start at 1 in every schema."""
    return f"{settings.artifacts.root}/{settings.job.name}-{secrets.token_hex(6)}"


def _cold_every(settings: Settings) -> int | None:
    """Return ``train.cold_every``; None where models start from scratch."""
    from recjobs import models

    warm = settings.train.warm_start and models.model_class(settings.model.name).warm_starts
    return settings.train.cold_every if warm else None


def _moved(run: Run, settings: Settings) -> dict[str, str]:
    """Return what changes of a run's row where ``artifacts.root`` is another one by now."""
    root = settings.artifacts.root
    if run.artifacts.startswith(f"{root}/"):
        return {}
    if run.timings:
        raise ConfigError(
            f"run {run.run_id} has its files in {run.artifacts}, and artifacts.root is {root}: "
            "put it back to finish the run, or begin anew with --fresh"
        )
    return {"artifacts": _new_folder(settings), "host": socket.gethostname()}


def _require_same_code(run: Run) -> None:
    """Refuse to finish with one version what another one began: lists are a function of it."""
    if run.key.code_version != code_version():
        raise ConfigError(
            f"run {run.run_id} began with recjobs {run.key.code_version}; this is "
            f"{code_version()}. Run the night again: it is another run with this version"
        )


def _night(settings: Settings, run: Run) -> Night:
    # The seed and the threads are parts of the key that the settings' hash leaves out.
    key = {"job.seed": run.key.seed, "job.training_threads": run.key.training_threads}
    settings = settings.with_overrides({**run.overrides, **key})
    if settings.hash() != run.key.settings_hash:
        raise ConfigError(
            f"run {run.run_id} began with other settings (hash {run.key.settings_hash}, now "
            f"{settings.hash()}): put them back to finish it, or start a run with the new ones"
        )
    return Night(settings, run, run_folder(run), run_store(settings))


def _needed(night: Night, stage: str) -> bool:
    if stage in _AFTER_HOLD:
        return True
    if night.run.status == "held" or (stage == "publish" and night.run.dry_run):
        return False
    return not (stage == "refit" and night.run.published_source == POPULAR)


def _require_before(night: Night, stage: str) -> None:
    """Refuse a stage whose predecessors have not finished, or found what must stop the night.

    Raises:
        ConfigError: A stage before this one has not finished, or has decided nothing.
        CheckFailedError: An expectation before this one did not hold.
    """
    for earlier in STAGES[: STAGES.index(stage)]:
        if _needed(night, earlier):
            summary = night.folder.manifest(earlier).summary
            require([Outcome(**outcome) for outcome in summary.get("outcomes", ())])
    if STAGES.index(stage) > STAGES.index("gate") and night.run.decision is None:
        raise ConfigError(f"run {night.run.run_id}: stage gate has decided nothing; run it first")


def _require_overridable(overrides: Mapping[str, Any]) -> None:
    wrong = [key for key in overrides if key.partition(".")[0] not in _OVERRIDABLE]
    if wrong:
        raise ConfigError(
            f"a run's overrides: expected settings of {', '.join(_OVERRIDABLE)}. "
            f"Received: {', '.join(wrong)}"
        )


def _work(night: Night, stage: str, progress: Progress) -> StageState:
    run_id, store = night.run.run_id, night.store
    # The report speaks of how the run stands now: it is the one stage that is always made anew.
    reuse = stage != "report" and night.folder.finished(stage)
    if stage != "report" and not reuse:
        store.update(run_id, status="running", stage=stage, error=None)
    if not reuse:
        with night.folder.writing(stage) as out:
            stages.WORK[stage](night, out, progress)
    manifest = night.folder.manifest(stage)
    if stage in stages.AFTER:
        stages.AFTER[stage](night, manifest.summary)
    store.update(run_id, timings={stage: manifest.seconds})
    return "reused" if reuse else "done"


def _share(night: Night, stage: str, shard: Shard, progress: Progress) -> StageState:
    # The run's status stays as it is: a shard that goes well clears no failure of another one's.
    if night.folder.finished(stage):
        return "reused"
    started = time.monotonic()
    if not stages.SHARDED[stage](night, shard, progress):
        return "reused"
    seconds = round(time.monotonic() - started, 3)
    night.store.update(night.run.run_id, stage=stage, timings={f"{stage} {shard}": seconds})
    return "done"
