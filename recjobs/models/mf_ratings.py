"""Training of `MatrixFactorization` on ratings: squared error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import Arrays, with_biases
from recjobs.models.ratings import Ratings
from recjobs.models.training import Weights, start_keras
from recjobs.models.warm import Start, moved

if TYPE_CHECKING:
    from recjobs.models.mf import MfSettings

#: Where the settings leave it open.
_L2: Final = 0.1
#: What is left of the learning rate after an epoch.
_DECAY: Final = 0.95


class RatingsTrainer:
    """Fits from several starts, whose predictions are averaged; see `SoftmaxTrainer`.

    The mean of factorizations is one whose vectors are theirs side by side.
    """

    def __init__(
        self, train: TrainingSet, settings: MfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        self._ratings = Ratings(train, settings.batch_size, seed)
        self.known_users, self.known_items = self._ratings.known_users, self._ratings.known_items
        starts = range(seed, seed + settings.averaged)
        self._fits = [_Fit(tf, keras, train, settings, start) for start in starts]

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        for fit in self._fits:
            fit.slow_down(number)
        losses = [
            float(fit.step(*batch)) for batch in self._ratings.batches() for fit in self._fits
        ]
        return float(np.mean(losses))

    def start_from(self, start: Start) -> None:
        """Begin with another average's weights where it has them."""
        their_users, their_items = start.model.factors()
        scale = np.float32(np.sqrt(len(self._fits)))
        parts = [
            np.split(vectors[:, :-2] * scale, len(self._fits), axis=1)
            for vectors in (their_users, their_items)
        ]
        user_bias = their_users[:, -2] - np.float32(self._ratings.mean)
        for fit, p, q in zip(self._fits, *parts, strict=True):
            users, own_bias, items, item_bias = fit.weights.arrays()
            fit.weights.put(
                [
                    start.rows(users, p, start.users),
                    moved(own_bias, user_bias, start.users),
                    start.rows(items, q, start.items),
                    moved(item_bias, their_items[:, -1], start.items),
                ]
            )

    def rest(self) -> Arrays:
        """Return nothing: the vectors tell all; see `Model.rest`."""
        return {}

    def vectors(self) -> tuple[Float32Array, Float32Array]:
        """Return user and item vectors with their biases; 0 for the unknown ones."""
        arrays = [fit.weights.arrays() for fit in self._fits]
        scale = np.float32(1 / np.sqrt(len(arrays)))
        users, items = (
            np.concatenate([each[side] * scale for each in arrays], axis=1) for side in (0, 2)
        )
        user_bias, item_bias = (np.mean([each[side] for each in arrays], axis=0) for side in (1, 3))
        return with_biases(
            users * self.known_users[:, None],
            user_bias * self.known_users + self._ratings.mean,
            items * self.known_items[:, None],
            item_bias * self.known_items,
        )

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        kept = [fit.weights.keep() for fit in self._fits]

        def put_back() -> None:
            for put in kept:
                put()

        return put_back


class _Fit:
    """One factorization: its weights, and its training step."""

    def __init__(
        self, tf: Any, keras: Any, train: TrainingSet, settings: MfSettings, seed: int
    ) -> None:
        # Two initializers: one would give both sides the same numbers.
        users, items = (
            keras.layers.Embedding(
                count,
                settings.embedding_dim,
                keras.initializers.RandomNormal(stddev=0.1, seed=2 * seed + side),
            )
            for side, count in enumerate((train.n_users, train.n_items))
        )
        for layer in (users, items):
            layer.build()
        user_bias = keras.Variable(np.zeros(train.n_users, dtype=np.float32))
        item_bias = keras.Variable(np.zeros(train.n_items, dtype=np.float32))
        variables = [users.embeddings, user_bias, items.embeddings, item_bias]
        self.weights = Weights(variables)
        self._rate = settings.learning_rate
        self._optimizer = keras.optimizers.Adam(self._rate)
        l2 = _L2 if settings.l2 is None else settings.l2
        self.step = _step(tf, self._optimizer, variables, l2)

    def slow_down(self, number: int) -> None:
        """Set the learning rate of an epoch."""
        self._optimizer.learning_rate = self._rate * _DECAY ** (number - 1)


def _step(tf: Any, optimizer: Any, variables: list[Any], l2: float) -> Callable[..., Any]:
    """Return the compiled training step: users, items and centred ratings in, mean loss out."""
    optimizer.build(variables)
    ints = tf.TensorSpec([None], tf.int32)

    @tf.function(autograph=False, input_signature=[ints, ints, tf.TensorSpec([None], tf.float32)])
    def step(user: Any, item: Any, centred: Any) -> Any:
        with tf.GradientTape() as tape:
            p, user_bias, q, item_bias = (
                tf.gather(variable.value, index)
                for variable, index in zip(variables, (user, user, item, item), strict=True)
            )
            predicted = tf.reduce_sum(p * q, axis=1) + user_bias + item_bias
            length = tf.reduce_sum(p * p + q * q, axis=1) + user_bias**2 + item_bias**2
            loss = tf.reduce_mean((predicted - centred) ** 2 + l2 * length)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    compiled: Callable[..., Any] = step
    return compiled
