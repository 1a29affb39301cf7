"""Rating prediction on one split: the plain script, biases alone, and our models."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
from sklearn.model_selection import train_test_split

from benchmarks.data import FAR
from recjobs.config import FeedbackSettings
from recjobs.dataset import Float32Array, Interactions, TrainingSet, training_set
from recjobs.models import RatingModel, make

EXPLICIT = FeedbackSettings(kind="explicit", positive_at=4.0)


def article_split(log: Interactions, rows: pa.Table) -> tuple[TrainingSet, TrainingSet]:
    """Return the random 80/20 split of the rows as they stand in the file.

    Ratings are unique per user and item.
    """
    pair = log.user_idx.astype(np.int64) * len(log.items) + log.item_idx
    user, item = (
        index.encode(rows[name].cast(pa.int64()))
        for name, index in (("user_id", log.users), ("item_id", log.items))
    )
    _, test = train_test_split(np.arange(len(rows)), test_size=0.2, random_state=42)
    held = np.isin(pair, user[test].astype(np.int64) * len(log.items) + item[test])
    return (
        training_set(log, ~held, FAR, EXPLICIT),
        training_set(log, held, FAR, EXPLICIT),
    )


def article_epochs(
    train: TrainingSet, test: TrainingSet, *, validated: bool = False
) -> list[tuple[float, float]]:
    """Fit what tutorials fit: batch 64, ten epochs, nothing against overfitting.

    Returns:
        After each epoch: the seconds of training so far, tracing included, and validation where
        asked for, and the RMSE.
    """
    import keras

    keras.utils.set_random_seed(42)
    user, item = (keras.Input((1,), dtype="int32") for _ in range(2))
    vectors = [
        keras.layers.Flatten()(keras.layers.Embedding(count, 50)(side))
        for side, count in ((user, train.n_users), (item, train.n_items))
    ]
    hidden = keras.layers.Concatenate()(vectors)
    for units in (128, 64):
        hidden = keras.layers.Dense(units, activation="relu")(hidden)
    model = keras.Model([user, item], keras.layers.Dense(1)(hidden))
    model.compile(optimizer="adam", loss="mse")
    pairs = [train.user_idx[:, None], train.item_idx[:, None]]
    asked = [test.user_idx[:, None], test.item_idx[:, None]]
    epochs, seconds = [], 0.0
    for _ in range(10):
        started = time.perf_counter()
        held = (asked, test.rating) if validated else None
        model.fit(pairs, train.rating, batch_size=64, validation_data=held, verbose=0)
        seconds += time.perf_counter() - started
        predicted = model.predict(asked, batch_size=8192, verbose=0)[:, 0]
        epochs.append((seconds, _rmse(test, predicted)))
    return epochs


def biases(train: TrainingSet, test: TrainingSet) -> tuple[float, float]:
    """Fit the mean and a shrunken offset per user and per item, by turns."""
    started = time.perf_counter()
    mean = float(train.rating.mean())
    of_user, of_item = np.zeros(train.n_users), np.zeros(train.n_items)
    users, items = train.user_idx, train.item_idx
    for _ in range(10):
        left = train.rating - mean - of_user[users]
        of_item = np.bincount(items, left, train.n_items) / (
            np.bincount(items, minlength=train.n_items) + 5
        )
        left = train.rating - mean - of_item[items]
        of_user = np.bincount(users, left, train.n_users) / (
            np.bincount(users, minlength=train.n_users) + 5
        )
    seconds = time.perf_counter() - started
    predicted = mean + of_user[test.user_idx] + of_item[test.item_idx]
    return _rmse(test, np.clip(predicted, *train.rating_range).astype(np.float32)), seconds


def ours(name: str, train: TrainingSet, test: TrainingSet, seed: int) -> tuple[float, float]:
    """Fit one of our models with its defaults."""
    model = make(name, {}, seed=seed, threads=2)
    started = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - started
    assert isinstance(model, RatingModel)
    return _rmse(test, model.predict(test.user_idx, test.item_idx)), seconds


def _rmse(test: TrainingSet, predicted: Float32Array) -> float:
    return float(np.sqrt(np.mean((test.rating - predicted) ** 2)))
