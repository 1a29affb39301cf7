"""Training of `MatrixFactorization` on ratings: squared error, by plain gradient descent.

Ratings are divided by their spread, so that nothing here depends on their scale. Descent from
vectors near 0 raises one dimension after the other, the strongest first, and l2 stops it at those
that pay; an optimizer that rescales gradients, such as Adam, raises all at once. A batch's
gradients are summed, and only the rows that it touches are changed: a step is what as many single
ratings in turn would do, as long as no row has many of them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import Arrays, with_biases
from recjobs.models.rated_sets import RatedSets
from recjobs.models.ratings import Ratings
from recjobs.models.training import Weights, start_keras
from recjobs.models.warm import Start, moved

if TYPE_CHECKING:
    from recjobs.models.mf import MfSettings

#: Where the settings leave them open.
_LEARNING_RATE: Final = 0.04
_L2: Final = 0.09
#: On the biases, per interaction.
_BIAS_L2: Final = 0.05
#: The biases' share of the learning rate: what vectors can say too, they should learn to say.
_BIAS_RATE: Final = 0.5
#: What is left of the learning rate after an epoch.
_DECAY: Final = 0.93
#: Ratings of one row in a batch: at the first learning rate, more could overshoot.
_AT_ONCE: Final = 16
#: To so many ratings, fits from different starts differ enough for their mean to pay.
_FEW: Final = 250_000
#: Standard deviation of the first vectors.
_SMALL: Final = 0.05


class RatingsTrainer:
    """Fits from several starts, whose predictions are averaged; see `SoftmaxTrainer`.

    The mean of factorizations is one whose vectors are theirs side by side.
    """

    def __init__(
        self, train: TrainingSet, settings: MfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        self._threads = threads
        self._ratings = ratings = Ratings(train, settings.batch_size, seed, _AT_ONCE)
        self.known_users, self.known_items = ratings.known_users, ratings.known_items
        sides = ((ratings.user, train.n_users), (ratings.item, train.n_items))
        self._sets = [
            RatedSets(row, other, (n_rows, n_others))
            for (row, n_rows), (other, n_others) in (sides, sides[::-1])
        ]
        averaged = settings.averaged or (3 if len(ratings) <= _FEW else 1)
        starts = range(seed, seed + averaged)
        l2 = _L2 if settings.l2 is None else settings.l2
        self._epoch = _epoch(tf, l2, ratings.size)
        self._rate = settings.learning_rate or _LEARNING_RATE
        self._fits = [_Fit(keras, self._sets, settings.embedding_dim, start) for start in starts]

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        if number > 1:  # the first vectors say nothing
            self._expect()
        user, item, centred = self._ratings.shuffled()
        rating = centred / np.float32(self._ratings.spread)
        rate = np.float32(self._rate * _DECAY ** (number - 1))
        losses = [float(self._epoch(*fit.state(), rate, user, item, rating)) for fit in self._fits]
        return float(np.mean(losses)) / len(user)

    def _expect(self) -> None:
        """Set what the vectors of each fit are drawn to."""
        with ThreadPoolExecutor(self._threads) as pool:
            sides = product(self._fits, enumerate(self._sets))
            list(pool.map(lambda side: side[0].expect(*side[1]), sides))

    def start_from(self, start: Start) -> None:
        """Begin with another average's weights where it has them."""
        their_users, their_items = start.model.factors()
        spread = np.float32(self._ratings.spread)
        # They may be more, or fewer, where the data grew past where one fit is enough.
        n_theirs = (their_users.shape[1] - 2) // self._fits[0].weights.arrays()[0].shape[1]
        scale = np.sqrt(n_theirs / spread)
        parts = [
            np.split(vectors[:, :-2] * scale, n_theirs, axis=1)
            for vectors in (their_users, their_items)
        ]
        user_bias = (their_users[:, -2] - np.float32(self._ratings.mean)) / spread
        item_bias = their_items[:, -1] / spread
        for number, fit in enumerate(self._fits):
            p, q = (each[number % n_theirs] for each in parts)
            users, of_users, items, of_items = fit.weights.arrays()
            fit.weights.put(
                [
                    start.rows(users, p, start.users),
                    moved(of_users, user_bias, start.users),
                    start.rows(items, q, start.items),
                    moved(of_items, item_bias, start.items),
                ]
            )
        self._expect()

    def rest(self) -> Arrays:
        """Return nothing: the vectors tell all; see `Model.rest`."""
        return {}

    def vectors(self) -> tuple[Float32Array, Float32Array]:
        """Return user and item vectors with their biases; 0 for the unknown ones."""
        arrays = [fit.weights.arrays() for fit in self._fits]
        spread = np.float32(self._ratings.spread)
        scale = np.sqrt(spread / len(arrays))
        users, items = (np.concatenate([each[side] for each in arrays], axis=1) for side in (0, 2))
        users *= scale * self.known_users[:, None]
        items *= scale * self.known_items[:, None]
        user_bias, item_bias = (
            np.mean([each[side] for each in arrays], axis=0) * spread for side in (1, 3)
        )
        return with_biases(
            users,
            user_bias * self.known_users + self._ratings.mean,
            items,
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
    """One factorization: its weights, and what they are drawn to."""

    def __init__(self, keras: Any, sets: list[RatedSets], dim: int, seed: int) -> None:
        self._variables: list[Any] = []
        rng = np.random.default_rng(seed)
        for side in sets:
            vectors = rng.normal(0, _SMALL, (side.n_rows, dim)).astype(np.float32)
            biases = np.zeros(side.n_rows, dtype=np.float32)
            self._variables += [keras.Variable(vectors), keras.Variable(biases)]
        self.weights = Weights(self._variables)
        self._fitted = [side.start(dim) for side in sets]

    def expect(self, number: int, side: RatedSets) -> None:
        """Set what the vectors of a side are drawn to."""
        vectors = self._variables[2 * number].numpy()
        self._fitted[number] = side.fitted(vectors, self._fitted[number])

    def state(self) -> tuple[list[Any], list[Float32Array]]:
        """Return the variables, and what the vectors are drawn to."""
        return [variable.value for variable in self._variables], [z for _, z in self._fitted]


def _epoch(tf: Any, l2: float, size: int) -> Callable[..., Any]:
    """Return an epoch of stochastic gradient descent: a fit's state and all ratings in, loss out.

    The batches are cut in the graph: calls from Python would cost more than small batches do. The
    variables are given, so that all fits share what is compiled; the gradients are written out, as
    less is to be compiled then.
    """

    def step(variables: Any, expected: Any, rate: Any, user: Any, item: Any, rating: Any) -> Any:
        places = (user, user, item, item)
        p, user_bias, q, item_bias = (
            tf.gather(v, place) for v, place in zip(variables, places, strict=True)
        )
        p_far, q_far = p - tf.gather(expected[0], user), q - tf.gather(expected[1], item)
        error = tf.reduce_sum(p * q, axis=1) + user_bias + item_bias - rating
        each, shrink, of_bias = (rate * error)[:, None], rate * l2, rate * _BIAS_RATE
        steps = (
            each * q + shrink * p_far,
            of_bias * (error + _BIAS_L2 * user_bias),
            each * p + shrink * q_far,
            of_bias * (error + _BIAS_L2 * item_bias),
        )
        for variable, change, place in zip(variables, steps, places, strict=True):
            variable.scatter_sub(tf.IndexedSlices(change, place))
        far, biases = (
            tf.nn.l2_loss(one) + tf.nn.l2_loss(other)
            for one, other in ((p_far, q_far), (user_bias, item_bias))
        )
        return 2 * (tf.nn.l2_loss(error) + l2 * far + _BIAS_L2 * biases)

    @tf.function(autograph=False)
    def epoch(variables: Any, expected: Any, rate: Any, user: Any, item: Any, rating: Any) -> Any:
        def one(start: Any, loss: Any) -> tuple[Any, Any]:
            batch = (each[start : start + size] for each in (user, item, rating))
            return start + size, loss + step(variables, expected, rate, *batch)

        n = tf.size(user)
        return tf.while_loop(lambda start, _: start < n, one, (0, 0.0), parallel_iterations=1)[1]

    compiled: Callable[..., Any] = epoch
    return compiled
