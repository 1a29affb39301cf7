"""The top-50 of `sasrec` against the same network of Keras's layers, and numpy's argpartition.

The peer pads every history to the model's length and reads it as Keras's `predict` would, either
for the last position alone or, as a network that was trained on every position does, for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.performance.factors import part, seen_of
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape, training
from recjobs import models
from recjobs.dataset import Int32Array, TrainingSet
from recjobs.models.ranking import Ranker
from recjobs.models.sasrec import SasRecSettings
from recjobs.models.training import start_keras
from recjobs.threads import cores

N = 50
_FITTED, _USERS = 1_000, 256
_STAGE = "top-50 of a sequence model"


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time some users; the weights are those of one epoch, for their values cost nothing."""
    train = training(part(shape, _FITTED))
    model = models.make("sasrec", {}, seed=1, threads=cores())
    model.fit(train, epochs=1)
    ranker = Ranker(model, np.ones(shape.items, dtype=np.bool_))
    users = np.random.default_rng(0).permutation(train.n_users)[:_USERS].astype(np.int32)
    _, keras = start_keras(1, cores())
    settings = SasRecSettings()
    rows = _padded(train, users, settings.length)
    last, every = "Keras, the last position", "Keras, all positions"
    ours, seen = "sasrec", seen_of(train)
    contenders = {ours: lambda: ranker.top_n(users, seen, N)}
    # All scores of all positions of more than a few users would not fit.
    batches = {f"{last}, by {batch}": batch for batch in (32, 128, 256)}
    network = _network(keras, shape.items, settings, every=False)
    for name, batch in batches.items():
        contenders[name] = _plain(network, rows, batch)
    timings = interleave(contenders, repeats)
    best = min(batches, key=timings.median)
    size = f"{len(users):,} users, {settings.length} places, {(rows > 0).mean():.0%} of them filled"
    found = [timings.row(_STAGE, ours, best, ("≥", 1.5), size)]
    contenders = {
        ours: contenders[ours],
        every: _plain(_network(keras, shape.items, settings, every=True), rows, 8),
    }
    slow = interleave(contenders, min(repeats, 3))
    return [*found, slow.row(_STAGE, ours, every, ("≥", 3.0), size)]


def _padded(train: TrainingSet, users: Int32Array, length: int) -> Int32Array:
    """Return the users' last items, counted from 1, at the end of each row."""
    sequences = train.sequences()
    rows = np.zeros((len(users), length), dtype=np.int32)
    for row, user in enumerate(users):
        items = sequences.item_idx[sequences.indptr[user] : sequences.indptr[user + 1]][-length:]
        rows[row, length - len(items) :] = items + 1
    return rows


def _network(keras: Any, n_items: int, settings: SasRecSettings, *, every: bool) -> Any:
    layers, dim, length = keras.layers, settings.embedding_dim, settings.length
    inputs = keras.Input((length,), dtype="int32")
    x = layers.Embedding(n_items + 1, dim)(inputs)
    x = x + layers.Embedding(length, dim)(keras.ops.arange(length))
    for _ in range(settings.blocks):
        y = layers.LayerNormalization()(x)
        attention = layers.MultiHeadAttention(settings.heads, dim // settings.heads)
        x = x + attention(y, y, use_causal_mask=True)
        y = layers.Dense(dim, "relu")(layers.LayerNormalization()(x))
        x = x + layers.Dense(dim)(y)
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(n_items, use_bias=False)(x if every else x[:, -1]))


def _plain(network: Any, rows: Int32Array, batch: int) -> Callable[[], None]:
    def run() -> None:
        for start in range(0, len(rows), batch):
            scores = np.asarray(network.predict_on_batch(rows[start : start + batch]))
            scores = scores if scores.ndim == 2 else scores[:, -1]
            best = np.argpartition(scores, scores.shape[1] - N, axis=1)[:, -N:]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            np.take_along_axis(best, order, axis=1)

    return run
