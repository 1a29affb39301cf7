"""What a night takes from an earlier one: the champion to beat, the parent to start from.

Neither is needed: where one can't be had, the night goes on without, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recjobs.columns import POPULAR
from recjobs.night import Night
from recjobs.read_back import UNREADABLE, read_log, read_model, read_split
from recjobs.runs import Run, run_folder

if TYPE_CHECKING:
    from recjobs.config import Settings
    from recjobs.dataset import Interactions
    from recjobs.evaluate import Champion
    from recjobs.split import Split
    from recjobs.train import Parent


def champion(night: Night) -> tuple[Champion | None, str | None]:
    """Return the newest once-live run's evaluated model, or None and why there is none."""
    run = night.store.reference(night.run.key.as_of)
    if run is None:
        return None, "no run with an earlier as_of has been live"
    if run.published_source == POPULAR:
        return None, f"run {run.run_id} published popularity lists: the floor stands for it"
    return _fitted(run, "train", night.settings, features=night.settings.rerank.asked)


def parent(
    night: Night, stage: str, data: tuple[Interactions, Split] | None = None
) -> tuple[Parent | None, str | None]:
    """Return what the run's parent fitted in a stage, or None and, where it has one, why not.

    Args:
        night: Tonight.
        stage: ``train``, for a model to be judged, or ``refit``.
        data: Tonight's log and split, whose holdout the parent must not have seen.
    """
    from recjobs.evaluate import refusal
    from recjobs.models import RatingModel, check_params
    from recjobs.train import Parent

    if night.run.parent_run_id is None:
        return None, None
    run, settings = night.store.get(night.run.parent_run_id), night.settings
    found, why_not = _fitted(run, stage, settings)
    if found is None:
        return None, why_not
    if data is not None and (reason := refusal(found, *data, settings)):
        return None, reason
    model, explicit = found.model, settings.feedback.kind == "explicit"
    if isinstance(model, RatingModel) and (model.rating_range is not None) != explicit:
        return None, f"run {run.run_id} learned from another kind of feedback"
    if model.settings != check_params(settings.model.name, settings.model.params):
        return None, f"run {run.run_id} has other hyperparameters"
    best_epoch = run_folder(run).manifest("train").summary["best_epoch"]
    return Parent(model, found.log.users, found.log.items, best_epoch), None


def _fitted(
    run: Run, stage: str, settings: Settings, *, features: bool = False
) -> tuple[Champion | None, str | None]:
    """Return what a run fitted in a stage, and on what; or None and why that can't be had."""
    from recjobs.evaluate import Champion

    folder, threads = run_folder(run), settings.job.training_threads
    if not folder.finished(stage):
        return None, f"the artifacts of run {run.run_id} are no longer in {folder.url}"
    try:
        # With tonight's threads: TensorFlow keeps those that it starts with.
        model = read_model(folder, run.model, stage, threads=threads)
        log = read_log(folder, features=features)
        return Champion(run.run_id, model, log, read_split(folder)), None
    except UNREADABLE as error:  # no reason to stop tonight
        return None, f"run {run.run_id} can't be read any more: {error}"
