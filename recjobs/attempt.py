"""One attempt at a stage: whether it may run and has to, and what is recorded of its end."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from recjobs import records, stages, version
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.errors import ConfigError, LeaseHeldError
from recjobs.expectations import Outcome, require
from recjobs.night import Night, lease
from recjobs.progress import Progress
from recjobs.runs import FINISHED, Run, RunStore
from recjobs.shards import Shard
from recjobs.verdict import verdict

StageState = Literal["done", "reused", "skipped"]

#: The user and the password of a URL: what is recorded of an error is read by more people.
_CREDENTIALS: Final = re.compile(r"//[^/@\s]+@")


def attempt(
    settings: Settings,
    run_id: int,
    stage: str,
    before: Sequence[str],
    progress: Progress,
    shard: Shard | None,
) -> StageState:
    """Run a stage, or a shard of it, unless it has committed or the run has no use for it.

    A shard of a stage is run beside the others, in as many processes; the stage itself, run after
    them, does what none of them has done.

    Args:
        settings: The job's settings.
        run_id: The run.
        stage: Which one.
        before: The stages that come before it.
        progress: Told how far it is.
        shard: This share of the stage alone.

    Returns:
        ``"done"``, ``"reused"`` (it had committed before) or ``"skipped"`` (after a hold, in a dry
        run, or where the lists are popularity's and no model is fitted).

    Raises:
        RecJobsError: The stage failed; the run's row says so.
    """
    if shard:
        _require_shard(settings, stage, shard)
    if stage == "verdict":
        verdict(settings, run_id)
        return "done"
    store = RunStore.of(settings)
    try:
        night = Night.of(settings, store.get(run_id))
        if not _needed(night, stage):
            return "skipped"
        if stage == "report":
            # Nothing that another run reads: made anew for an old run, it neither waits nor blocks.
            return _work(night, stage, progress)
        if night.run.status == "stored":
            return "reused"  # not looked at: its artifacts may be kept no longer
        require_same_code(night.run)
        with lease(night.settings, run_id, f"{stage} {shard}" if shard else "") as require_lease:
            night = replace(night, require_lease=require_lease)
            _require_before(night, before)
            return _share(night, stage, shard, progress) if shard else _work(night, stage, progress)
    except LeaseHeldError:
        raise  # it waits: nothing of it has failed
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise  # somebody ends it, and may go on with it
    except BaseException as error:  # a scheduler's time limit is no Exception
        if stage != "report" and store.get(run_id).status not in FINISHED:
            of_shard = f"shard {shard}: " if shard else ""
            message = _CREDENTIALS.sub("//…@", f"{type(error).__name__}: {of_shard}{error}")
            store.update(run_id, status="failed", stage=stage, error=message)
        raise


def _needed(night: Night, stage: str) -> bool:
    """Tell whether the run has any use for a stage: after a hold only for the report."""
    if stage == "report":
        return True
    if night.run.status == "held" or (stage == "publish" and night.run.dry_run):
        return False
    return not (stage == "refit" and night.run.published_source == POPULAR)


def _require_shard(settings: Settings, stage: str, shard: Shard) -> None:
    if stage not in stages.SHARDED:
        raise ConfigError(
            f"shard: expected a stage that has shards, {' or '.join(stages.SHARDED)}. "
            f"Received: {stage!r}"
        )
    if shard.of != settings.schedule.shards:
        raise ConfigError(
            f"shard: expected one of {settings.schedule.shards}, as schedule.shards says. "
            f"Received: {shard}"
        )


def require_same_code(run: Run) -> None:
    """Refuse to finish with one version what another one began: lists are a function of it.

    Raises:
        ConfigError: This is another version.
    """
    code_version = version.code_version()
    if run.key.code_version != code_version:
        raise ConfigError(
            f"run {run.run_id} began with recjobs {run.key.code_version}; this is {code_version}. "
            "Run the night again: it is another run with this version"
        )


def _require_before(night: Night, before: Sequence[str]) -> None:
    """Refuse a stage whose predecessors have not finished, or found what must stop the night.

    Raises:
        ConfigError: A stage before this one has not finished, or has decided nothing.
        CheckFailedError: An expectation before this one did not hold.
    """
    for stage in before:
        if _needed(night, stage):
            summary = night.folder.manifest(stage).summary
            require([Outcome(**outcome) for outcome in summary.get("outcomes", ())])
    if "gate" in before and night.run.decision is None:
        raise ConfigError(f"run {night.run.run_id}: stage gate has decided nothing; run it first")


def _work(night: Night, stage: str, progress: Progress) -> StageState:
    run_id, store = night.run.run_id, night.store
    # The report speaks of how the run stands now: it is the one stage that is always made anew.
    reuse = stage != "report" and night.folder.finished(stage)
    if stage != "report" and not reuse:
        store.update(run_id, status="running", stage=stage, error=None)
    if not reuse:
        with night.folder.writing(stage) as out:
            stages.WORK[stage](night, out, progress)
            night.require_lease()  # who took it commits these files, or has done so
    night.require_lease()  # and again: a commit of large files takes a while
    manifest = night.folder.manifest(stage)
    if stage in records.RECORD:
        records.RECORD[stage](night, manifest.summary)
    store.update(run_id, timings={stage: manifest.seconds})
    return "reused" if reuse else "done"


def _share(night: Night, stage: str, shard: Shard, progress: Progress) -> StageState:
    # The run's status stays as it is: a shard that goes well clears no failure of another one's.
    if night.folder.finished(stage):
        return "reused"
    started = time.monotonic()
    if not stages.SHARDED[stage](night, shard, progress):
        return "reused"
    night.require_lease()
    seconds = round(time.monotonic() - started, 3)
    night.store.update(night.run.run_id, stage=stage, timings={f"{stage} {shard}": seconds})
    return "done"
