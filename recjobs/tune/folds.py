"""Folds inside the training window: each is judged as a night judges its holdout.

The newest fold holds out the last days (or each user's last rows, as ``[holdout]`` says) of what
the night's own holdout left, the next one the last of what that leaves, and so on. So every fold is
older than the holdout, and no row of the holdout is in the log that a fold is cut from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from recjobs import models
from recjobs.config import Settings
from recjobs.dataset import BoolArray, Interactions, training_set
from recjobs.errors import ConfigError, DataError
from recjobs.evaluate.holdout import Holdout, holdout
from recjobs.evaluate.ranking import ranked
from recjobs.evaluate.table import RANKING_METRICS, accuracy
from recjobs.metrics import rmse
from recjobs.models.base import Model, RatingModel
from recjobs.progress import Progress
from recjobs.rerank import Reranker
from recjobs.split import Split, split

_ROWS: Final = ("user_idx", "item_idx", "ts", "rating", "event")


@dataclass(frozen=True, slots=True)
class Fold:
    """One window.

    Attributes:
        log: The rows before the next newer window.
        split: Its parts.
        judged: Who is judged, and by what.
    """

    log: Interactions
    split: Split
    judged: Holdout


def folds_of(log: Interactions, as_of: int, settings: Settings, n: int) -> list[Fold]:
    """Return up to n folds, newest first; fewer where the log does not reach back so far.

    Args:
        log: The whole log before ``as_of``.
        as_of: Microseconds.
        settings: Of the job.
        n: How many.

    Raises:
        DataError: The log has not even rows for one.
    """
    outer = split(log, settings.holdout, as_of)
    rest, cutoff = _taken(log, outer.training), outer.cutoff
    found: list[Fold] = []
    while len(found) < n:
        try:
            parts = split(rest, settings.holdout, cutoff)
            judged = holdout(rest, parts, settings)
        except DataError:
            if found:
                break
            raise
        if not len(judged.users):
            break
        found.append(Fold(rest, parts, judged))
        rest, cutoff = _taken(rest, parts.training), parts.cutoff
    if not found:
        raise DataError("tune: the fold before the holdout leaves nobody to judge")
    return found


def check_metric(settings: Settings, metric: str) -> None:
    """Refuse a metric that no fit of the job's model could be judged by.

    Args:
        settings: Of the job.
        metric: Of `RANKING_METRICS`, or ``rmse``.

    Raises:
        ConfigError: It is of ratings, and the model predicts none.
    """
    name, kind = settings.model.name, settings.feedback.kind
    rates = issubclass(models.model_class(name), RatingModel) and kind == "explicit"
    if metric == "rmse" and not rates:
        raise ConfigError(
            f"tune: --metric rmse, and {name} predicts no ratings with feedback.kind = {kind!r}"
        )


def judge(fold: Fold, model: Model, settings: Settings, metric: str, progress: Progress) -> float:
    """Fit a model on a fold and return the metric.

    A model that is trained in epochs is judged as the early stop leaves it: a second fit, as in a
    night, would double the time and tell two settings apart no better.

    Args:
        fold: The window.
        model: Unfitted.
        settings: Of the job.
        metric: Of `RANKING_METRICS`, or ``rmse``.
        progress: Told how far the fit is.

    Raises:
        ConfigError: The model or its hyperparameters don't suit, or what ``[rerank]`` needs is not
            known.
        DataError: The fold has no ratings for ``rmse``.
    """
    log, parts, feedback = fold.log, fold.split, settings.feedback
    if model.selects_epochs:
        fit, held = (
            training_set(log, rows, parts.cutoff, feedback)
            for rows in (parts.fit, parts.validation)
        )
        model.fit(fit, validation=held, progress=progress)
    else:
        model.fit(fold.judged.train, progress=progress)
    if metric == "rmse":
        return _rmse(fold, model)
    judged = fold.judged
    lists = ranked(
        model, judged.train, judged.users, judged.seen, judged.train.candidates,
        settings.score.block_users, Reranker.of(judged.train, model, settings.rerank),
    )  # fmt: skip
    column = RANKING_METRICS.index(metric)
    return float(accuracy(judged, lists)[:, column].mean())


def make(settings: Settings, params: dict[str, object]) -> Model:
    """Return the job's model with these hyperparameters, unfitted."""
    job = settings.job
    return models.make(settings.model.name, params, seed=job.seed, threads=job.training_threads)


def _rmse(fold: Fold, model: Model) -> float:
    if not isinstance(model, RatingModel):
        raise TypeError(f"expected a RatingModel. Received: {model.name}")
    held = fold.judged.held
    rated = ~np.isnan(held.rating)
    if not rated.any():
        raise DataError("tune: --metric rmse, and a fold has no ratings to compare with")
    predicted = model.predict(held.user_idx[rated], held.item_idx[rated])
    return rmse(predicted.astype(np.float64) - held.rating[rated])


def _taken(log: Interactions, rows: BoolArray) -> Interactions:
    """Return the log with only these rows; the indexes stay."""
    return replace(log, **{name: getattr(log, name)[rows] for name in _ROWS})
