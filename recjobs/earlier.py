"""What a night takes from an earlier one: the champion to beat, the parent to start from.

Neither is needed: where one can't be had, the night goes on without, and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recjobs.artifacts import RunFolder
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.errors import RecJobsError
from recjobs.runs import Run

if TYPE_CHECKING:
    from recjobs.dataset import Interactions
    from recjobs.evaluate import Champion
    from recjobs.models import Model
    from recjobs.split import Split
    from recjobs.train import Parent


def read_log(folder: RunFolder, *, features: bool = False) -> Interactions:
    """Read what the index stage left; features only where asked for."""
    from recjobs.dataset import Interactions

    names = list(Interactions.FILES)
    names += ["item_features.parquet", "user_features.parquet"] if features else []
    return Interactions.load(*(folder.path("index", name) for name in names))


def read_split(folder: RunFolder) -> Split:
    """Read the split that the index stage left."""
    from recjobs.split import Split

    return Split.load(folder.path("index", "split.npz"))


def read_model(folder: RunFolder, name: str, stage: str, part: str = "model") -> Model:
    """Read a model that a stage left."""
    from recjobs import models

    return models.load(name, folder.folder(stage, part))


def champion(run: Run, folder: RunFolder) -> tuple[Champion | None, str | None]:
    """Return the model that a run evaluated, or None and why it can't be compared with."""
    if run.published_source == POPULAR:
        return None, f"run {run.run_id} published popularity lists: the floor stands for it"
    return _fitted(run, folder, "train")


def parent(
    run: Run,
    folder: RunFolder,
    stage: str,
    settings: Settings,
    data: tuple[Interactions, Split] | None = None,
) -> tuple[Parent | None, str | None]:
    """Return what an earlier run fitted in a stage, or None and why nothing can start from it.

    Args:
        run: The earlier one.
        folder: Its artifacts.
        stage: ``train``, for a model to be judged, or ``refit``.
        settings: Of the job.
        data: Tonight's log and split, whose holdout the parent must not have seen.
    """
    from recjobs.evaluate import refusal
    from recjobs.models import RatingModel, check_params
    from recjobs.train import Parent

    found, why_not = _fitted(run, folder, stage)
    if found is None:
        return None, why_not
    if data is not None and (reason := refusal(found, *data, settings)):
        return None, reason
    model, explicit = found.model, settings.feedback.kind == "explicit"
    if isinstance(model, RatingModel) and (model.rating_range is not None) != explicit:
        return None, f"run {run.run_id} learned from another kind of feedback"
    if model.settings != check_params(settings.model.name, settings.model.params):
        return None, f"run {run.run_id} has other hyperparameters"
    best_epoch = folder.manifest("train").summary["best_epoch"]
    return Parent(model, found.log.users, found.log.items, best_epoch), None


def _fitted(run: Run, folder: RunFolder, stage: str) -> tuple[Champion | None, str | None]:
    """Return what a run fitted in a stage, and on what; or None and why that can't be had."""
    from recjobs.evaluate import Champion

    if not folder.finished(stage):
        return None, f"the artifacts of run {run.run_id} are no longer in {folder.url}"
    try:
        parts = read_model(folder, run.model, stage), read_log(folder), read_split(folder)
    except (RecJobsError, OSError, KeyError, TypeError, ValueError) as error:
        # An older version wrote it, or half of it is gone: no reason to stop tonight.
        return None, f"run {run.run_id} can't be read any more: {error}"
    return Champion(run.run_id, *parts), None
