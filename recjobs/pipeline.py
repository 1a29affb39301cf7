"""The night: its stages in order, what each leaves for the next, and a run of them all.

The command line, the DAGs and the tests all come through here. A run is a row in the database and
a folder of artifacts: `begin` opens it, `stages` turn artifacts into more artifacts, `verdict` says
how it ended. What has committed does not run again: a run resumes where it stopped, in any process.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from recjobs.attempt import StageState, attempt
from recjobs.begin import begin
from recjobs.config import Settings
from recjobs.errors import ConfigError
from recjobs.progress import Progress, Watch, silent, unwatched
from recjobs.runs import FINISHED, Run, RunStore
from recjobs.shards import Shard
from recjobs.verdict import verdict

__all__ = ["STAGES", "begin", "finish", "run_night", "run_stage", "run_stages", "verdict"]

STAGES: Final = (
    "extract",  # the source's rows before as_of, in Parquet: interactions, items, users
    "validate",  # the same rows without the bad ones, which are set aside with a reason
    "index",  # the log, by dense indexes, and its split: to train on, to tune on, held out
    "train",  # the model to be judged, which has not seen what is held out
    "evaluate",  # its metrics on that, beside the baselines' and the last live model's
    "gate",  # publish or hold; after a hold only the report and the verdict have work to do
    "refit",  # the model that scores, fitted on everything before as_of
    "score",  # every user's n best items; similar and popular items
    "check",  # whether those lists are whole, free of seen items and not too unlike the last
    "publish",  # the lists in Postgres, and readers pointed at them
    "report",  # a page on all of it, made after a failure too
    "verdict",  # nothing: it fails where the run was held or a stage failed
)


def run_night(
    settings: Settings,
    as_of: datetime,
    *,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    watch: Watch = unwatched,
) -> Run:
    """Run a whole night and return its run; a night of the same key that is finished is returned.

    Raises:
        RecJobsError: A stage failed, or the gate held the model; the report is written all the
            same, and what was live stays live.
    """
    run = begin(settings, as_of, overrides=overrides, fresh=fresh, dry_run=dry_run)
    return finish(settings, run, watch=watch)


def finish(settings: Settings, run: Run, *, watch: Watch = unwatched) -> Run:
    """Run what is left of an opened run and return it as it ended; raises as `run_night` does."""
    if run.status not in FINISHED:
        run_stages(settings, run.run_id, watch=watch)
    return verdict(settings, run.run_id)


def run_stages(settings: Settings, run_id: int, *, watch: Watch = unwatched) -> None:
    """Run what is left of a run, stage by stage; the report follows a failure too."""

    def run(stage: str) -> None:
        with watch(stage) as progress:
            state = run_stage(settings, run_id, stage, progress)
            if state != "done":
                progress(1.0, state)

    *work, report, _ = STAGES
    try:
        for stage in work:
            run(stage)
    except Exception:
        with suppress(Exception):  # the night's own failure is the one to be told
            run(report)
        raise
    else:
        run(report)
    finally:
        RunStore.of(settings).release(run_id)


def run_stage(
    settings: Settings,
    run_id: int,
    stage: str,
    progress: Progress = silent,
    shard: Shard | None = None,
) -> StageState:
    """Run one stage of a run, or a shard of it; what is returned and raised, `attempt` says."""
    if stage not in STAGES:
        raise ConfigError(f"stage: expected one of {', '.join(STAGES)}. Received: {stage!r}")
    before = STAGES[: STAGES.index(stage)]
    return attempt(settings, run_id, stage, before, progress, shard)
