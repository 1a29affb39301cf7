"""How far predicted ratings are from the held-out ones, beside biases alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.evaluate.holdout import Holdout
from recjobs.evaluate.table import Row, row
from recjobs.metrics import Bootstrap, Float64Array, error_intervals

#: Ratings that a bias must be backed by to count half; damps the means of the rarely rated.
_DAMPING = 5.0


@dataclass(frozen=True, slots=True)
class Biases:
    """The mean rating, plus how each item and each user differ from it; 0 where unknown."""

    mean: float
    user: Float64Array
    item: Float64Array
    low: float
    high: float

    @classmethod
    def fit(cls, train: TrainingSet) -> Biases:
        """Take the damped means of a training set's ratings, items first, users of what is left."""
        rated = ~np.isnan(train.rating)
        users, items = train.user_idx[rated], train.item_idx[rated]
        rating = train.rating[rated].astype(np.float64)
        mean = float(rating.mean()) if len(rating) else 0.0
        item = _damped_means(items, rating - mean, train.n_items)
        user = _damped_means(users, rating - mean - item[items], train.n_users)
        low, high = train.rating_range
        return cls(mean, user, item, low, high)

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return predictions float32, ``(n,)``, clipped to the scale of the data."""
        predicted = self.mean + self.user[user_idx] + self.item[item_idx]
        return np.clip(predicted, self.low, self.high).astype(np.float32)


class Predictor(Protocol):
    """What predicts ratings: a `RatingModel`, or biases alone."""

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return predictions float32, ``(n,)``."""


def rating_rows(name: str, model: Predictor, judged: Holdout, bootstrap: Bootstrap) -> list[Row]:
    """Return RMSE and MAE of a model and of biases alone over every held-out rating.

    Pairs that ``exclude_seen`` keeps off the lists are judged too: a prediction is asked for a
    pair, not for a list. The segments are ``all``, ``known`` and ``new``.

    Args:
        name: The model's.
        model: Predicts for any user and item of the index.
        judged: The holdout.
        bootstrap: The draws.
    """
    held = judged.held
    rated = ~np.isnan(held.rating)
    user_idx, item_idx = held.user_idx[rated], held.item_idx[rated]
    history = judged.train.history[user_idx]
    segments = {"all": history >= 0, "known": history > 0, "new": history == 0}
    rows: list[Row] = []
    predictors: dict[str, Predictor] = {name: model, "biases": Biases.fit(judged.train)}
    for each, predictor in predictors.items():
        error = predictor.predict(user_idx, item_idx).astype(np.float64) - held.rating[rated]
        for segment, pairs in segments.items():
            if not pairs.any():
                continue
            owner = user_idx[pairs]
            users = len(np.unique(owner))
            found = error_intervals(error[pairs], owner, bootstrap)
            rows += [
                row(each, segment, metric, interval, users)
                for metric, interval in zip(("rmse", "mae"), found, strict=True)
            ]
    return rows


def _damped_means(group: Int32Array, values: Float64Array, size: int) -> Float64Array:
    means: Float64Array = np.bincount(group, values, size) / (
        np.bincount(group, minlength=size) + _DAMPING
    )
    return means
