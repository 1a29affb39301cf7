"""Promoting: a run goes live because a person says so, a held one after the stages it lacks."""

from __future__ import annotations

from recjobs import live
from recjobs.attempt import require_same_code
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.errors import ConfigError
from recjobs.night import Night, lease
from recjobs.pipeline import STAGES, run_stage, run_stages
from recjobs.pointer import Job
from recjobs.progress import Watch, unwatched
from recjobs.runs import Run, RunStore, run_folder
from recjobs.shards import Shard


def promote(settings: Settings, run_id: int, *, why: str, by: str, watch: Watch = unwatched) -> Run:
    """Make a run live because a person says so: a held one from refit on, a stored one at once.

    Raises:
        DataError: The run's lists are incomplete or hold seen items.
        ConfigError: The run failed, its artifacts are gone, or its lists are popularity's, stored
            in the place of the model's that the gate held; the settings or the version are others
            than it began with, or the live run is pinned. Nothing is changed.
    """
    store = RunStore.of(settings)
    run = store.get(run_id)
    unfinished = run.status != "stored"
    if unfinished:
        _reopen(settings, run, rule=f"promoted by {by}: {why}")
        run_stages(settings, run_id, watch=watch)
        run = store.get(run_id)
    elif run.published_source == POPULAR:
        raise ConfigError(
            f"run {run_id}: expected a run with lists of its model. Received: one whose model the "
            "gate held, and popularity lists were stored in its place. Run the night again with "
            "--fresh --dry-run, then promote that run"
        )
    live.promote(Job.of(settings), run_id, by=by, why=why)
    if unfinished:
        with watch("report") as progress:  # the page says what is live: until now another run was
            run_stage(settings, run_id, "report", progress)
    return store.get(run_id)


def _reopen(settings: Settings, run: Run, *, rule: str) -> None:
    """Let a held or dry run go on from refit; a promotion that failed on the way goes on too."""
    if run.status not in ("held", "dry_run") and run.decision != "promoted":
        raise ConfigError(
            f"run {run.run_id}: expected a held, dry or stored run. Received: {run.status}"
        )
    # What would fail later fails now: from here on the gate's verdict on the run is overruled.
    require_same_code(Night.of(settings, run).run)
    if pin := RunStore.of(settings).pin():
        raise ConfigError(
            f"run {pin['run_id']} is pinned by {pin['by']} ({pin['why'] or 'no reason given'}): "
            "recjobs rollback --unpin first"
        )
    for stage in STAGES[: STAGES.index("refit")]:
        run_folder(run).manifest(stage)  # else it would extract and train another model than held
    with lease(settings, run.run_id):
        if run.published_source != "model":  # held: what was scored before that is popularity's
            shards = Shard.all(settings.schedule.shards)
            run_folder(run).remove("check", "score", *(shard.part("score") for shard in shards))
        RunStore.of(settings).update(
            run.run_id,
            status="running",
            error=None,
            dry_run=False,
            decision="promoted",
            rule=rule,
            published_source="model",
        )
