"""Training of `NeuralCollaborativeFiltering` on ratings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import TrainingSet
from recjobs.models.ncf_network import Scorer
from recjobs.models.ncf_training import NcfTrainer
from recjobs.models.ratings import Ratings
from recjobs.models.training import Adam, Weights, start_keras

if TYPE_CHECKING:
    from recjobs.models.ncf import NcfSettings

#: Where the settings leave it open.
_RATE: Final = 0.01
#: What is left of the learning rate after an epoch: later epochs would overfit at it.
_DECAY: Final = 0.5


class NcfRatingsTrainer(NcfTrainer):
    """One fit on ratings; see `recjobs.models.mf_softmax.SoftmaxTrainer`."""

    def __init__(
        self, train: TrainingSet, settings: NcfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        super().__init__(keras, train, settings, seed)
        self._rate = settings.learning_rate or _RATE
        self._ratings = Ratings(train, settings.batch_size, seed)
        self.known_users, self.known_items = self._ratings.known_users, self._ratings.known_items
        self._constant = self._ratings.mean
        self._share_weight = keras.Variable(np.zeros(0, dtype=np.float32))
        self._weights = Weights(self._network.trainable_variables)
        self._epoch = _epoch(tf, self._network, settings.l2)

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        rate = np.float32(self._rate * _DECAY ** (number - 1))
        return float(self._epoch(rate, *self._ratings.batches()))

    def scorer(self) -> Scorer:
        """Return the present weights; they score the rating itself."""
        return self._scorer(self._layer("item_bias").get_weights()[0][:, 0])


def _epoch(tf: Any, network: Any, l2: float) -> Callable[..., Any]:
    """Return a compiled epoch: learning rate and `Ratings.batches` in, mean loss out.

    Batches are of one known size: shapes that are not known add to what there is to compile.
    """
    variables = network.trainable_variables
    adam, layer = Adam(tf, variables), network.get_layer

    def step(rate: Any, user: Any, item: Any, centred: Any) -> Any:
        with tf.GradientTape() as tape:
            p, q = layer("user")(user), layer("item")(item)
            x = tf.concat([p, q], axis=1)
            for name in ("first", "second"):
                x = layer(f"{name}_dropout")(layer(name)(x), training=True)
            score = layer("output")(x) + layer("product")(p * q)
            score += layer("user_bias")(user) + layer("item_bias")(item)
            error = score[:, 0] - centred
            length = tf.nn.l2_loss(p) + tf.nn.l2_loss(q)
            loss = (tf.nn.l2_loss(error) + l2 * length) * (2 / user.shape[0])
        adam.apply(tape.gradient(loss, variables), rate)
        return loss

    @tf.function(autograph=False)
    def epoch(rate: Any, *batches: Any) -> Any:
        def one(number: Any, loss: Any) -> tuple[Any, Any]:
            return number + 1, loss + step(rate, *(each[number] for each in batches))

        n = batches[0].shape[0]
        _, loss = tf.while_loop(lambda number, _: number < n, one, (0, 0.0), parallel_iterations=1)
        return loss / n

    compiled: Callable[..., Any] = epoch
    return compiled
