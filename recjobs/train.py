"""Training: the model to be judged, which has not seen the holdout, and the one that scores.

A model that is trained in epochs is fitted twice for the judge: on ``fit`` with early stopping on
``validation``, which finds the number of epochs, then on both for exactly so many. The scoring
model is fitted on everything before ``as_of``, again for so many; or it goes on from the judged
one, where that comes to the same (`Model.goes_on`).

Warm, it is fitted once for the judge, from the weights of an earlier night's judged model, and once
to score, from those of that night's scoring model; each for a share of the epochs that the last
cold night found. No validation is looked at: the parent has seen most of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recjobs import models
from recjobs.artifacts import StageOutput
from recjobs.config import Settings
from recjobs.dataset import Interactions, TrainingSet, training_set
from recjobs.files import write_json
from recjobs.index import Index
from recjobs.models.base import History, Model
from recjobs.models.warm import Start
from recjobs.progress import Progress, within
from recjobs.split import Split

#: Of the epochs that a cold fit takes.
_WARM_SHARE: Final = 0.4
#: Of the parent's weights; see `recjobs.models.warm`.
_KEPT: Final = 0.5
#: Of the judged model's epochs, where the scoring model goes on from it.
_MORE_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Parent:
    """A fitted model, for another to start from.

    Attributes:
        model: Of the same class and hyperparameters.
        users: Its index of users.
        items: Its index of items.
        epochs: Of the cold fit that it goes back to.
    """

    model: Model
    users: Index
    items: Index
    epochs: int


def train(
    log: Interactions,
    split: Split,
    settings: Settings,
    out: StageOutput,
    progress: Progress,
    *,
    parent: Parent | None = None,
    control: bool = False,
) -> Model:
    """Fit the model that the evaluation judges; it never sees the holdout.

    Leaves the folder ``model/``, ``history.json`` and a summary, as a control also ``warm/``.

    Args:
        log: The whole log.
        split: Its parts.
        settings: Of the job.
        out: Where the files go.
        progress: Told how far it is.
        parent: An earlier night's judged model, which has not seen the holdout either, to start
            from; None: from scratch.
        control: Start from scratch all the same, and fit the warm model beside it, to compare.

    Raises:
        ConfigError: The model or its hyperparameters are wrong.
        DataError: There is nothing to learn from.
    """
    started = time.perf_counter()
    known = training_set(log, split.training, split.cutoff, settings.feedback)
    if parent is not None and control:
        warm, _ = _fit_warm(known, parent, settings, within(progress, 0.0, 0.2))
        warm.save(out.folder / "warm")
        out.summary["warm_seconds"] = round(time.perf_counter() - started, 3)
        started, progress = time.perf_counter(), within(progress, 0.2, 1.0)
    if parent is not None and not control:
        model, history = _fit_warm(known, parent, settings, progress)
        best_epoch: int | None = parent.epochs
    else:
        model, history, best_epoch = _fit_cold(log, split, known, settings, progress)
    _leave(model, known, history, best_epoch, time.perf_counter() - started, out)
    return model


def refit(
    log: Interactions,
    as_of: int,
    best_epoch: int | None,
    choices: dict[str, Any],
    settings: Settings,
    out: StageOutput,
    progress: Progress,
    *,
    parent: Parent | None = None,
    judged: Parent | None = None,
) -> Model:
    """Fit the model that scores on everything before ``as_of``.

    Leaves the folder ``model/``, ``history.json`` and a summary.

    Args:
        log: The whole log.
        as_of: Microseconds.
        best_epoch: What `train` found; None for a closed form.
        choices: What else it found; see `Model.choices`.
        settings: Of the job.
        out: Where the files go.
        progress: Told how far it is.
        parent: An earlier night's scoring model to start from.
        judged: Tonight's judged model to go on from; without either: from scratch.

    Raises:
        ConfigError: The model or its hyperparameters are wrong.
        DataError: There is nothing to learn from.
    """
    started = time.perf_counter()
    everything = np.ones(len(log), dtype=np.bool_)
    known = training_set(log, everything, as_of, settings.feedback)
    if parent is not None:
        model, history = _fit_warm(known, parent, settings, progress)
    elif judged is not None:
        model, history = _fit_from(judged, known, settings, progress, _MORE_SHARE)
    else:
        model = _make(settings)
        model.choices = choices
        best_epoch = max(1, best_epoch or 1) if model.selects_epochs else None
        history = model.fit(known, epochs=best_epoch, progress=progress)
    _leave(model, known, history, best_epoch, time.perf_counter() - started, out)
    return model


def _fit_cold(
    log: Interactions, split: Split, known: TrainingSet, settings: Settings, progress: Progress
) -> tuple[Model, History, int | None]:
    """Return the judged model, how its epochs were found, and how many."""
    model = _make(settings)
    if not model.selects_epochs:
        return model, model.fit(known, progress=progress), None
    fit = training_set(log, split.fit, split.cutoff, settings.feedback)
    validation = training_set(log, split.validation, split.cutoff, settings.feedback)
    history = model.fit(fit, validation=validation, progress=within(progress, 0.0, 0.6))
    best_epoch = max(1, history.best_epoch or 1)
    choices = model.choices
    model = _make(settings)
    model.choices = choices
    model.fit(known, epochs=best_epoch, progress=within(progress, 0.6, 1.0))
    return model, history, best_epoch


def _fit_warm(
    known: TrainingSet, parent: Parent, settings: Settings, progress: Progress
) -> tuple[Model, History]:
    return _fit_from(parent, known, settings, progress, _WARM_SHARE, _KEPT)


def _fit_from(
    parent: Parent,
    known: TrainingSet,
    settings: Settings,
    progress: Progress,
    share: float,
    kept: float = 1.0,
) -> tuple[Model, History]:
    """Fit from a parent's weights, of which a share is kept, for a share of its epochs."""
    model = _make(settings)
    model.start = Start.of(parent.model, parent.users, parent.items, known, kept)
    epochs = max(1, round(share * parent.epochs))
    return model, model.fit(known, epochs=epochs, progress=progress)


def _make(settings: Settings) -> Model:
    job, chosen = settings.job, settings.model
    return models.make(chosen.name, chosen.params, seed=job.seed, threads=job.training_threads)


def _leave(
    model: Model,
    known: TrainingSet,
    history: History,
    best_epoch: int | None,
    seconds: float,
    out: StageOutput,
) -> None:
    model.save(out.folder / "model")
    epochs: list[dict[str, Any]] = [
        {"epoch": epoch.number, "loss": epoch.loss, "validation": epoch.validation}
        for epoch in history.epochs
    ]
    chosen = any(epoch.validation is not None for epoch in history.epochs)
    told = {
        "epochs": epochs,
        "best_epoch": history.best_epoch if chosen else None,
        "metric": history.metric,
    }
    write_json(out.folder / "history.json", told)
    out.summary.update(
        model=model.name,
        best_epoch=best_epoch,
        choices=model.choices,
        epochs=len(epochs),
        fit_seconds=round(seconds, 3),
        n_users=int(model.known_users.sum()),
        n_items=int(model.known_items.sum()),
        n_pairs=known.n_pairs,
    )
