"""Training of the sequence models: at every place of a history, tell the next item.

Loss: softmax cross-entropy over the catalogue, or against ``negatives`` items drawn evenly for each
batch, whose scores are corrected by the logarithm of how often they are drawn. It is computed, with
its gradient, for some places at a time: the scores of all places never exist at once.

The weights that count are a moving average, over about an epoch, of those that are trained: they
are better while the learning rate is high, and their validation rises evenly, so that stopping
early can be trusted. Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging",
SIAM Journal on Control and Optimization 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import Float32Array
from recjobs.models.sequence_batches import Histories
from recjobs.models.training import Weights

if TYPE_CHECKING:
    from recjobs.models.sequence import SequenceSettings

#: Item vectors among the weights: what is read, and what is told.
ITEMS: Final = "items"
#: Scores that the loss holds at a time: 16 MB.
_SCORES: Final = 1 << 22
#: Catalogues up to here are told in full, where the settings leave it open.
_FULL: Final = 10_000
#: Drawn from greater ones.
_NEGATIVES: Final = 1024
#: Training steps of an epoch, where the settings leave the batches open.
_STEPS: Final = 192
#: Share of the training in which the learning rate rises.
_WARM_UP: Final = 0.05

#: The network: weights by name, columns ``(b, t)``, lengths ``(b,)`` and what drops values at
#: random; returns what each place tells, ``(b, t, embedding_dim)``.
Network = Callable[[Mapping[str, Any], Any, Any, Callable[[Any], Any]], Any]


class SequenceTrainer:
    """One fit.

    Args:
        tf: The module.
        keras: The module.
        network: The network.
        weights: Its initial weights, `ITEMS` among them.
        histories: What to learn from.
        settings: The hyperparameters.
        seed: Of the order, the dropout and the samples.
    """

    def __init__(
        self,
        tf: Any,
        keras: Any,
        network: Network,
        weights: Mapping[str, Float32Array],
        histories: Histories,
        settings: SequenceSettings,
        seed: int,
    ) -> None:
        self._names = list(weights)
        variables, averages = (
            [keras.Variable(value) for value in weights.values()] for _ in range(2)
        )
        self._averages = Weights(averages)
        self._histories, self._settings = histories, settings
        self._rng = np.random.default_rng(seed)
        self._n_columns = len(weights[ITEMS])
        wanted = settings.negatives or (self._n_columns if self._n_columns <= _FULL else _NEGATIVES)
        self._sampled = wanted if wanted < self._n_columns else 0
        n_users = int((histories.lengths > 1).sum())
        self._batch_size = settings.batch_size or min(max(n_users // _STEPS, 8), 128)
        self._steps = max(-(-n_users // self._batch_size), 1)
        self._optimizer = keras.optimizers.Adam(settings.learning_rate)
        self._step = _step(
            tf, self._optimizer, network, dict(zip(self._names, variables, strict=True)), averages,
            settings.dropout, self._sampled,
        )  # fmt: skip
        self._done = 0

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        loss = places = 0.0
        for position, batch in enumerate(self._histories.batches(self._batch_size, self._rng)):
            done = (number - 1 + (position + 0.5) / self._steps) / self._settings.epochs
            self._optimizer.learning_rate = self._settings.learning_rate * _rate(done)
            drawn = self._rng.integers(0, self._n_columns, self._sampled).astype(np.int32)
            self._done += 1
            share = np.float32(max(1 / self._steps, 1 / self._done))
            mean = self._step(*batch, drawn, np.int32(self._rng.integers(1 << 30)), share)
            loss += float(mean) * len(batch.target)
            places += len(batch.target)
        return loss / max(places, 1)

    def arrays(self) -> dict[str, Float32Array]:
        """Return the present average weights by name."""
        return dict(zip(self._names, self._averages.arrays(), strict=True))

    def keep(self) -> Callable[[], None]:
        """Copy the average weights, and return a function that puts them back."""
        return self._averages.keep()


def _rate(done: float) -> float:
    """Return what the learning rate is multiplied by: a linear rise, then half a cosine."""
    if done < _WARM_UP:
        return done / _WARM_UP
    return 0.5 + 0.5 * math.cos(math.pi * min((done - _WARM_UP) / (1 - _WARM_UP), 1.0))


def _step(
    tf: Any,
    optimizer: Any,
    network: Network,
    weights: dict[str, Any],
    averages: list[Any],
    dropout: float,
    sampled: int,
) -> Callable[..., Any]:
    """Return the compiled training step: a batch's arrays in, its mean loss out."""
    variables = list(weights.values())
    optimizer.build(variables)
    ints, grid = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None], tf.int32)
    scalars = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)]

    @tf.function(autograph=False, input_signature=[grid, ints, ints, ints, ints, *scalars])
    def step(
        column: Any, length: Any, place: Any, target: Any, drawn: Any, seed: Any, share: Any
    ) -> Any:
        present = {name: variable.value for name, variable in weights.items()}
        with tf.GradientTape() as tape:
            hidden = network(present, column, length, dropping(tf, dropout, seed))
            hidden = tf.gather(tf.reshape(hidden, [-1, hidden.shape[-1]]), place)
            loss = _softmax_loss(tf, hidden, present[ITEMS], target, drawn if sampled else None)
        optimizer.apply(tape.gradient(loss, variables), variables)
        for variable, average in zip(variables, averages, strict=True):
            average.assign(average.value + share * (variable.value - average.value))
        return loss

    compiled: Callable[..., Any] = step
    return compiled


def dropping(tf: Any, rate: float, seed: Any) -> Callable[[Any], Any]:
    """Return what sets values to 0 at random, every call with other random numbers."""
    calls = iter(range(1 << 30))

    def drop(x: Any) -> Any:
        if rate == 0:
            return x
        chance = tf.random.stateless_uniform(tf.shape(x), tf.stack([seed, next(calls)]))
        return tf.where(chance < rate, 0.0, x / (1 - rate))

    return drop


def _softmax_loss(tf: Any, hidden: Any, items: Any, target: Any, drawn: Any | None) -> Any:
    """Return the mean over the places, float32 scalar.

    Args:
        tf: The module.
        hidden: ``(p, dim)``.
        items: ``(n_columns, dim)``.
        target: int32, ``(p,)``.
        drawn: Columns to compare with, int32; None: all of them.
    """
    n_columns, dim = items.shape
    others = items if drawn is None else tf.gather(items, drawn)
    positive = tf.gather(items, target)
    correction = (
        0.0
        if drawn is None
        else math.log(n_columns) - tf.math.log(tf.cast(tf.size(drawn), tf.float32))
    )

    def chunk_loss(h: Any, q: Any, positive: Any, target: Any) -> Any:
        scores, own = tf.matmul(h, q, transpose_b=True), tf.reduce_sum(h * positive, axis=1)
        if drawn is None:
            return tf.reduce_sum(tf.reduce_logsumexp(scores, axis=1) - own)
        scores = tf.where(target[:, None] == drawn[None], -np.inf, scores)
        partition = tf.reduce_logsumexp(scores, axis=1) + correction
        return tf.reduce_sum(tf.math.softplus(partition - own))

    @tf.custom_gradient
    def total(h: Any, q: Any, positive: Any) -> Any:
        n_places = tf.shape(h)[0]
        chunk = tf.maximum(_SCORES // tf.shape(q)[0], 1)
        d_h, d_positive = (
            tf.TensorArray(tf.float32, 0, True, infer_shape=False, element_shape=[None, dim])
            for _ in range(2)
        )

        def body(at: Any, loss: Any, d_q: Any, d_h: Any, d_positive: Any) -> Any:
            part = slice(at * chunk, (at + 1) * chunk)
            inputs = (h[part], q, positive[part])
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = chunk_loss(*inputs, target[part])
            g_h, g_q, g_positive = tape.gradient(value, inputs)
            d_h, d_positive = d_h.write(at, g_h), d_positive.write(at, g_positive)
            return at + 1, loss + value, d_q + g_q, d_h, d_positive

        n_chunks = -(-n_places // chunk)
        _, loss, d_q, d_h, d_positive = tf.while_loop(
            lambda at, *_: at < n_chunks,
            body,
            (0, 0.0, tf.zeros_like(q), d_h, d_positive),
            parallel_iterations=1,
        )
        gradients = (d_h.concat(), d_q, d_positive.concat())
        return loss, lambda upstream: tuple(upstream * gradient for gradient in gradients)

    return total(hidden, others, positive) / tf.cast(tf.shape(target)[0], tf.float32)
