"""Training of `NeuralCollaborativeFiltering` on implicit feedback: softmax over a sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import TrainingSet
from recjobs.models.groups import Groups
from recjobs.models.ncf_network import Scorer
from recjobs.models.ncf_training import NcfTrainer
from recjobs.models.training import Weights, compiled_step, start_keras

if TYPE_CHECKING:
    from recjobs.models.ncf import NcfSettings

#: Where the settings leave it open.
_RATE: Final = 0.003


class NcfSoftmaxTrainer(NcfTrainer):
    """One fit on implicit feedback; see `recjobs.models.mf_softmax.SoftmaxTrainer`."""

    def __init__(
        self, train: TrainingSet, settings: NcfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        super().__init__(keras, train, settings, seed)
        self._groups = groups = Groups(train, settings.recency_days)
        self.known_users, self.known_items = groups.known_users, groups.known_items
        self._rng = np.random.default_rng(seed)
        self._sampled = min(settings.negatives, len(groups.item_of))
        self._per_batch = groups.per_batch(settings.batch_size, steps=256)
        n_shares = groups.shares.shape[2]
        start = np.zeros((train.n_items, 1), dtype=np.float32)
        start[groups.item_of, 0] = groups.first_bias
        self._layer("item_bias").set_weights([start])
        share_weight = keras.Variable(
            np.full(n_shares, 1 / n_shares, dtype=np.float32), name="share_bias"
        )
        # A user's bias is the same for all items: a softmax does not see it.
        learned = [v for v in self._network.trainable_variables if "user_bias" not in v.path]
        variables = [*learned, share_weight]
        self._share_weight = share_weight
        self._weights = Weights(variables)
        optimizer = keras.optimizers.Adam(settings.learning_rate or _RATE)
        self._step = _step(tf, optimizer, self._network, variables, groups, settings.l2)

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        order = self._rng.permutation(len(self._groups))
        loss = weight = 0.0
        for start in range(0, len(order), self._per_batch):
            batch = self._groups.batch(order[start : start + self._per_batch])
            drawn, log_chance = self._groups.draw(self._sampled, self._rng)
            total = float(batch.weight.sum())
            mean = self._step(
                batch.user, batch.time, batch.group, batch.column, batch.weight, drawn, log_chance
            )
            loss += float(mean) * total
            weight += total
        return loss / weight

    def scorer(self) -> Scorer:
        """Return the present weights, the item biases those of the end of the data."""
        item_bias = self._layer("item_bias").get_weights()[0][:, 0]
        item_bias[self._groups.item_of] += self._groups.shares[-1] @ self._share_weight.numpy()
        return self._scorer(item_bias)


def _step(
    tf: Any, optimizer: Any, network: Any, variables: list[Any], groups: Groups, l2: float
) -> Callable[..., Any]:
    """Return the compiled training step: a batch's arrays in, its mean loss out."""
    optimizer.build(variables)
    layer = network.get_layer
    recent, item_of = tf.constant(groups.shares), tf.constant(groups.item_of)
    dim = layer("user").output_dim

    def dense(p: Any, q: Any) -> Any:
        """Return the dense layers' score from the two parts of the first one's input."""
        if not layer("output").trainable:
            return 0.0  # they are left away: see `NcfSettings.parts`
        x = layer("first_dropout")(tf.nn.relu(p + q), training=True)
        x = layer("second_dropout")(layer("second")(x), training=True)
        return layer("output")(x)[..., 0]

    def bias_of(column: Any, share: Any) -> Any:
        item_bias = tf.gather(layer("item_bias").embeddings.value, tf.gather(item_of, column))
        return item_bias[:, 0] + tf.linalg.matvec(share, variables[-1].value)

    def loss_of(
        user: Any, time: Any, group: Any, column: Any, weight: Any, drawn: Any, log_chance: Any
    ) -> Any:
        kernel, product = layer("first").kernel.value, layer("product").kernel.value[:, 0]
        p = layer("user")(user)
        p_first = tf.matmul(p, kernel[:dim]) + layer("first").bias.value
        p_product = p * product

        # (n_groups, n_drawn): every group against every drawn item.
        q = layer("item")(tf.gather(item_of, drawn))
        scores = dense(p_first[:, None], tf.matmul(q, kernel[dim:])[None])
        scores += tf.matmul(p_product, q, transpose_b=True) - log_chance
        scores += tf.gather(bias_of(drawn, tf.gather(recent, drawn, axis=1)), time)
        partition = tf.gather(tf.reduce_logsumexp(scores, axis=1), group)

        # (n_pairs,): the positives.
        q = layer("item")(tf.gather(item_of, column))
        positive = dense(tf.gather(p_first, group), tf.matmul(q, kernel[dim:]))
        positive += tf.reduce_sum(tf.gather(p_product, group) * q, axis=1)
        own_share = tf.gather_nd(recent, tf.stack([tf.gather(time, group), column], axis=1))
        positive += bias_of(column, own_share)

        length = tf.gather(tf.reduce_sum(p * p, axis=1), group) + tf.reduce_sum(q * q, axis=1)
        loss = tf.math.softplus(partition - positive) + l2 * length
        return tf.reduce_sum(weight * loss) / tf.reduce_sum(weight)

    ints = tf.TensorSpec([None], tf.int32)
    floats = tf.TensorSpec([None], tf.float32)

    signature = [ints, ints, ints, ints, floats, ints, floats]
    return compiled_step(tf, optimizer, variables, loss_of, signature)
