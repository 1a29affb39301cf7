"""Protocol *rating*: every row of E is predicted, clipped to the least and greatest rating of T.

The mean and the biases predict where the model does not know the user or the item: a bias that is
unknown too is 0.
"""

from __future__ import annotations

import time

import numpy as np

from recjobs.bench.figures import Figures
from recjobs.bench.files import Judged, Training
from recjobs.bench.fitting import Fitted
from recjobs.dataset import Float32Array
from recjobs.errors import ConfigError, DataError
from recjobs.evaluate.ratings import Biases
from recjobs.metrics import Bootstrap, error_intervals
from recjobs.models.base import Model, RatingModel


def check_predicts(kind: type[Model]) -> None:
    """Refuse a model that predicts no ratings.

    Raises:
        ConfigError: It does not.
    """
    if not issubclass(kind, RatingModel):
        raise ConfigError(f"--protocol rating: the model {kind.name} predicts no ratings")


def check_learnable(given: Training) -> None:
    """Refuse a T without ratings.

    Raises:
        DataError: It has none.
    """
    if np.isnan(given.log.rating).all():
        raise DataError(
            "T: --protocol rating expects a column rating. "
            f"Received: no rating in {len(given.log)} rows"
        )


def check_ratings(judged: Judged) -> None:
    """Refuse an E without something to compare with.

    Raises:
        DataError: A row has no rating, or there is no row.
    """
    missing = int(np.isnan(judged.rating).sum())
    if missing or not len(judged.rating):
        raise DataError(
            f"E: expected a rating in every row. Received: {missing} nulls in {len(judged.rating)}"
        )


def rating(fitted: Fitted, judged: Judged, *, seed: int) -> Figures:
    """Predict and judge.

    Args:
        fitted: The model, fitted on ratings.
        judged: E.
        seed: Of the intervals.
    """
    model, train = fitted.model, fitted.train
    if not isinstance(model, RatingModel):
        raise TypeError(f"expected a RatingModel. Received: {model.name}")
    started = time.perf_counter()
    user = judged.trained_as[judged.owner]
    item = np.where(judged.code < train.n_items, judged.code, -1)
    own = (user >= 0) & (item >= 0)
    own[own] = model.known_users[user[own]] & model.known_items[item[own]]
    predicted = _by_biases(Biases.fit(train), user, item)
    predicted[own] = model.predict(user[own], item[own])
    predicted = predicted.clip(*train.rating_range)
    seconds = time.perf_counter() - started

    error = predicted.astype(np.float64) - judged.rating
    owner = judged.owner.astype(np.int64)
    found = error_intervals(error, owner, Bootstrap(seed=seed))
    counts = {
        "users": len(judged.users),
        "users_not_in_train": int((judged.trained_as < 0).sum()),
        "rows": len(judged.owner),
        "rows_by_biases": int((~own).sum()),
    }
    metrics = dict(zip(("rmse", "mae"), found, strict=True))
    return Figures(metrics, counts, seconds, np.zeros(0, dtype=np.int64), {})


def _by_biases(biases: Biases, user: np.ndarray, item: np.ndarray) -> Float32Array:
    """Return predictions float32, ``(n,)``; -1 in ``user`` or ``item`` is an unknown one."""
    of_user, of_item = np.append(biases.user, 0.0), np.append(biases.item, 0.0)
    predicted: Float32Array = (biases.mean + of_user[user] + of_item[item]).astype(np.float32)
    return predicted
