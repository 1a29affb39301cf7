"""Training: the model to be judged, which has not seen the holdout, and the one that scores.

A model that is trained in epochs is fitted twice for the judge: on ``fit`` with early stopping on
``validation``, which finds the number of epochs, then on both for exactly so many. The scoring
model is fitted on everything before ``as_of``, again for so many.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recjobs import models
from recjobs.artifacts import StageOutput, write_json
from recjobs.config import Settings
from recjobs.dataset import Interactions, TrainingSet, training_set
from recjobs.models.base import History, Model
from recjobs.progress import Progress
from recjobs.split import Split


def train(
    log: Interactions, split: Split, settings: Settings, out: StageOutput, progress: Progress
) -> Model:
    """Fit the model that the evaluation judges; it never sees the holdout.

    Leaves the folder ``model/``, ``history.json`` and a summary.

    Args:
        log: The whole log.
        split: Its parts.
        settings: Of the job.
        out: Where the files go.
        progress: Told how far it is.

    Raises:
        ConfigError: The model or its hyperparameters are wrong.
        DataError: There is nothing to learn from.
    """
    started = time.perf_counter()
    known = training_set(log, split.training, split.cutoff, settings.feedback)
    model = _make(settings)
    history, best_epoch = History((), None, "ndcg@10"), None
    if model.selects_epochs:
        fit = training_set(log, split.fit, split.cutoff, settings.feedback)
        validation = training_set(log, split.validation, split.cutoff, settings.feedback)
        history = model.fit(fit, validation=validation, progress=_part(progress, 0.0, 0.6))
        best_epoch = max(1, history.best_epoch or 1)
        choices = model.choices
        model = _make(settings)
        model.choices = choices
        model.fit(known, epochs=best_epoch, progress=_part(progress, 0.6, 1.0))
    else:
        history = model.fit(known, progress=progress)
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

    Raises:
        ConfigError: The model or its hyperparameters are wrong.
        DataError: There is nothing to learn from.
    """
    started = time.perf_counter()
    everything = np.ones(len(log), dtype=np.bool_)
    known = training_set(log, everything, as_of, settings.feedback)
    model = _make(settings)
    model.choices = choices
    epochs = max(1, best_epoch or 1) if model.selects_epochs else None
    history = model.fit(known, epochs=epochs, progress=progress)
    _leave(model, known, history, epochs, time.perf_counter() - started, out)
    return model


def _make(settings: Settings) -> Model:
    job, chosen = settings.job, settings.model
    return models.make(chosen.name, chosen.params, seed=job.seed, threads=job.training_threads)


def _part(progress: Progress, begin: float, end: float) -> Progress:
    def report(done: float, note: str = "") -> None:
        progress(begin + (end - begin) * done, note)

    return report


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
    told = {"epochs": epochs, "best_epoch": best_epoch, "metric": history.metric}
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
