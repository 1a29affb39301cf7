"""The fit on T alone.

A model that is trained in epochs is fitted twice: on T without a validation part, which finds the
number of epochs, then on all of T for exactly so many. The validation part is the last row of each
user, as `split.last_rows` takes it, or the newest rows of all, where E is the time that follows T;
it is drawn at random where rows have no time, and for ratings.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from recjobs.bench.files import Training
from recjobs.config import FeedbackSettings, HoldoutSettings, Section
from recjobs.dataset import BoolArray, Interactions, TrainingSet, training_set
from recjobs.errors import DataError
from recjobs.models.base import Model
from recjobs.progress import Progress, within
from recjobs.split import last_rows, newest_rows

#: Which rows of T the validation part is: each user's last, or the newest of all.
Validation = Literal["last", "newest"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model, and how long it took.

    Attributes:
        model: Fitted on ``train``.
        train: All of T.
        epochs: So many the early stop chose; None without one, and where only the model's own parts
            train in epochs.
        selection_seconds: Of the fit that chose them; None without one.
        refit_seconds: Of the fit that is judged.
    """

    model: Model
    train: TrainingSet
    epochs: int | None
    selection_seconds: float | None
    refit_seconds: float


def end_of(log: Interactions) -> int:
    """Return the instant after the last row, microseconds."""
    return int(log.ts.max(initial=0)) + 1


def check_times(kinds: list[type[Model]], given: Training, validated: Validation) -> None:
    """Refuse rows without a time for a model that learns from their order, or by the newest.

    Raises:
        DataError: There are such rows.
    """
    missing = int((~given.timed).sum())
    if validated == "newest" and missing:
        raise DataError(
            "validation = newest: expected a ts in every row of T. "
            f"Received: {missing} nulls in {len(given.timed)} rows"
        )
    for kind in kinds:
        if kind.needs_time and missing:
            raise DataError(
                f"{kind.name} learns from the order of a user's rows: expected a ts in every row "
                f"of T. Received: {missing} nulls in {len(given.timed)} rows"
            )


def import_first(kinds: list[type[Model]], settings: Section) -> None:
    """Import what the fit would import, so that no clock counts it."""
    import sklearn.feature_extraction.text
    import sklearn.utils.extmath  # noqa: F401

    from recjobs import kernels  # noqa: F401 (its import is the point, as of the two above)

    # By Keras: what trains in epochs, and a blend's reranker.
    if getattr(settings, "rerank", False) or any(kind.selects_epochs for kind in kinds):
        from recjobs.models.training import import_keras

        import_keras()


def fit(
    kind: type[Model],
    settings: Section,
    given: Training,
    feedback: FeedbackSettings,
    validated: Validation,
    *,
    seed: int,
    threads: int,
    progress: Progress,
) -> Fitted:
    """Fit a model on T.

    Args:
        kind: The model's class.
        settings: Its hyperparameters.
        given: T.
        feedback: What a row says.
        validated: On which rows of T.
        seed: Of the model, and of a validation part that is drawn.
        threads: The model's.
        progress: Told how far it is.

    Raises:
        DataError: There is nothing to learn from.
    """
    log = given.log
    everything = np.ones(len(log), dtype=np.bool_)
    selection_seconds, epochs, own_epochs = None, None, None
    choices: dict[str, Any] = {}
    if kind.selects_epochs:
        started = time.perf_counter()
        held = validation_rows(given, feedback, validated, seed)
        fit_set, validation = (
            training_set(log, rows, end_of(log), feedback) for rows in (~held, held)
        )
        model = kind(settings, seed=seed, threads=threads)
        history = model.fit(
            fit_set,
            validation=validation if held.any() else None,
            progress=within(progress, 0.0, 0.5),
        )
        epochs, choices = max(1, history.best_epoch or 1), model.choices
        own_epochs = epochs if history.epochs else None
        selection_seconds = time.perf_counter() - started
    started = time.perf_counter()
    train = training_set(log, everything, end_of(log), feedback)
    model = kind(settings, seed=seed, threads=threads)
    model.choices = choices
    begin = 0.0 if epochs is None else 0.5
    model.fit(train, epochs=epochs, progress=within(progress, begin, 1.0))
    return Fitted(model, train, own_epochs, selection_seconds, time.perf_counter() - started)


def counts_of(fitted: Fitted) -> dict[str, Any]:
    """Return T's size, the chosen epochs and the seconds of both fits, where there were any."""
    train = fitted.train
    counts: dict[str, Any] = {
        "train_rows": len(train.log),
        "train_pairs": train.n_pairs,
        "train_users": int((train.history > 0).sum()),
        "train_items": len(np.unique(train.item_idx)),
    }
    if fitted.epochs is not None:
        counts["epochs"] = fitted.epochs
    if fitted.selection_seconds is not None:
        counts["selection_seconds"] = round(fitted.selection_seconds, 3)
        counts["refit_seconds"] = round(fitted.refit_seconds, 3)
    return counts


def validation_rows(
    given: Training, feedback: FeedbackSettings, validated: Validation, seed: int
) -> BoolArray:
    """Return the rows of T that choose the number of epochs, bool ``(n_rows,)``."""
    log, share = given.log, HoldoutSettings().validation_share
    everything = np.ones(len(log), dtype=np.bool_)
    if feedback.kind == "implicit" and given.timed.all():
        if validated == "newest":
            return newest_rows(log.ts, everything, share)
        return last_rows(log.user_idx, everything, share)
    # At random, and one row of each user stays: which, is drawn too.
    order = np.random.default_rng(seed).permutation(len(log))
    first = np.unique(log.user_idx[order], return_index=True)[1]
    held = np.zeros(len(log), dtype=np.bool_)
    held[np.delete(order, first)[: round(len(log) * share)]] = True
    return held
