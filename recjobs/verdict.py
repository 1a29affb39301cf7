"""The stage `verdict`: how a run ended, as a failure where it did not end well."""

from __future__ import annotations

from recjobs.config import Settings
from recjobs.errors import DatabaseError, GateError, failure
from recjobs.runs import Run, RunStore


def verdict(settings: Settings, run_id: int) -> Run:
    """Return the run where it ended well, and give the job's lease back.

    Raises:
        GateError: The gate held the model.
        RecJobsError: A stage failed; of the class that the stage raised.
    """
    store = RunStore.of(settings)
    run = store.get(run_id)
    killed = store.was_killed(run)
    store.release(run_id)
    if run.status == "failed":
        kind, message = failure(run.error)
        raise kind(f"run {run_id} failed in stage {run.stage}: {message}")
    if killed:
        raise DatabaseError(
            f"run {run_id} stopped in stage {run.stage}: its process ended without a word (killed, "
            "out of memory, timed out). See the log of the stage, then run it again: it resumes"
        )
    if run.status == "running":
        raise DatabaseError(f"run {run_id} is not finished: its last stage is {run.stage}")
    if run.status == "held" or run.decision == "hold":
        live = "popularity lists were published" if run.ever_live else "nothing changed"
        raise GateError(f"run {run_id} is held, {live}: {run.rule}")
    return run
