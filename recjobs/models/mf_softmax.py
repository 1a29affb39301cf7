"""Training of `MatrixFactorization` on implicit feedback: softmax over the (sampled) catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.linalg import orthogonal_procrustes

from recjobs.dataset import Float32Array, Int64Array, TrainingSet
from recjobs.models.base import Arrays, with_biases
from recjobs.models.groups import Groups
from recjobs.models.spectral import spectral_start
from recjobs.models.training import Weights, compiled_step, start_keras
from recjobs.models.warm import Start, moved

if TYPE_CHECKING:
    from recjobs.models.mf import MfSettings

#: Where the settings leave it open.
_L2: Final = 0.05
_LEARNING_RATE: Final = 0.005


class SoftmaxTrainer:
    """One fit.

    Args:
        train: With at least one positive.
        settings: The hyperparameters.
        seed: Of the initial weights, the order and the samples.
        threads: For TensorFlow.
    """

    def __init__(
        self, train: TrainingSet, settings: MfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        self._groups = groups = Groups(train, settings.recency_days)
        self.known_users, self.known_items = groups.known_users, groups.known_items
        self._settings = settings
        n_columns = len(groups.item_of)
        self._sampled = settings.negatives if settings.negatives < n_columns else 0
        self._per_batch = groups.per_batch(settings.batch_size, steps=32)
        self._rng = np.random.default_rng(seed)

        # Of one seed both would begin with the same rows: user number k would like item number k.
        of_users, of_items = (
            keras.initializers.RandomNormal(stddev=0.1, seed=each)
            for each in np.random.SeedSequence(seed).generate_state(2).tolist()
        )
        users = keras.layers.Embedding(train.n_users, settings.embedding_dim, of_users)
        items = keras.layers.Embedding(n_columns, settings.embedding_dim, of_items)
        for layer in (users, items):
            layer.build()
        if settings.start == "spectral":
            user_rows, item_rows = spectral_start(
                train.positives(), settings.embedding_dim, seed=seed, threads=threads
            )
            users.embeddings.assign(user_rows)
            items.embeddings.assign(item_rows[groups.item_of])
        n_shares = groups.shares.shape[2]
        bias = keras.Variable(groups.first_bias)
        share_weight = keras.Variable(np.full(n_shares, 1 / n_shares, dtype=np.float32))
        variables = [users.embeddings, items.embeddings, bias, share_weight]
        self._weights = Weights(variables)
        self._step = _step(tf, keras, variables, groups, self._sampled, settings)

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        order = self._rng.permutation(len(self._groups))
        n_columns = len(self._groups.item_of)
        loss = weight = 0.0
        for start in range(0, len(order), self._per_batch):
            batch = self._groups.batch(order[start : start + self._per_batch])
            sampled = self._rng.integers(0, n_columns, self._sampled).astype(np.int32)
            total = float(batch.weight.sum())
            mean = self._step(
                batch.user, batch.time, batch.group, batch.column, batch.weight, sampled
            )
            loss += float(mean) * total
            weight += total
        return loss / weight

    def start_from(self, start: Start) -> None:
        """Begin with another fit's weights where it has them."""
        users, items, bias, share_weight = self._weights.arrays()
        their_users, their_items = (vectors[:, :-2] for vectors in start.model.factors())
        rest, place = start.model.rest, start.items[self._groups.item_of]
        if rest["share_weight"].shape == share_weight.shape:  # else the bias means something else
            bias, share_weight = moved(bias, rest["bias"], place), rest["share_weight"]
        if self._settings.start == "spectral":
            # Singular vectors are fixed but for a rotation, another one every night; and they are
            # no noise that would make room to learn, so that theirs are kept whole.
            both = place >= 0
            rotation, _ = orthogonal_procrustes(items[both], their_items[place[both]])
            users, items = users @ rotation, items @ rotation
            start = replace(start, kept=1.0)
        users = start.rows(users, their_users, start.users)
        items = start.rows(items, their_items, place)
        self._weights.put([users, items, bias, share_weight])

    def rest(self) -> Arrays:
        """Return the parts of the items' biases; see `Model.rest`."""
        _, _, bias, share_weight = self._weights.arrays()
        of_items = np.zeros(len(self.known_items), dtype=np.float32)
        of_items[self._groups.item_of] = bias
        return {"bias": of_items, "share_weight": share_weight}

    def vectors(self) -> tuple[Float32Array, Float32Array]:
        """Return user and item vectors with their biases; 0 for the unknown ones."""
        users, columns, bias, share_weight = self._weights.arrays()
        items = np.zeros((len(self.known_items), columns.shape[1]), dtype=np.float32)
        item_bias = np.zeros(len(items), dtype=np.float32)
        items[self._groups.item_of] = columns
        item_bias[self._groups.item_of] = bias + self._groups.shares[-1] @ share_weight
        users = users * self.known_users[:, None]
        return with_biases(users, np.zeros(len(users), dtype=np.float32), items, item_bias)

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        return self._weights.keep()


def _l2(count: Int64Array, settings: MfSettings) -> Float32Array:
    """Return the l2 that a vector gets with each of its interactions, given how many it has."""
    l2 = _L2 if settings.l2 is None else settings.l2
    if settings.l2_per == "interaction":
        return np.full(len(count), l2, dtype=np.float32)
    mean = count.sum() / np.count_nonzero(count)
    each: Float32Array = (l2 * mean / np.maximum(count, 1)).astype(np.float32)
    return each


def _step(
    tf: Any,
    keras: Any,
    variables: list[Any],
    groups: Groups,
    sampled: int,
    settings: MfSettings,
) -> Callable[..., Any]:
    """Return the compiled training step: a batch's arrays in, its mean loss out."""
    optimizer = keras.optimizers.Adam(settings.learning_rate or _LEARNING_RATE)
    optimizer.build(variables)
    users, items, bias, share_weight = (variable.value for variable in variables)
    recent = tf.constant(groups.shares)
    l2_of_user, l2_of_item = (tf.constant(_l2(count, settings)) for count in groups.counts)
    correction = np.float32(np.log(max(len(groups.item_of) - 1, 1) / max(sampled, 1)))

    def loss_of(user: Any, time: Any, group: Any, column: Any, weight: Any, drawn: Any) -> Any:
        p = tf.gather(users, user)
        some_items = tf.gather(items, drawn) if sampled else items
        some_bias = tf.gather(bias, drawn) if sampled else bias
        some_recent = tf.gather(recent, drawn, axis=1) if sampled else recent
        prior = some_bias + tf.linalg.matvec(some_recent, share_weight)
        logits = tf.matmul(p, some_items, transpose_b=True) + tf.gather(prior, time)
        partition = tf.gather(tf.reduce_logsumexp(logits, axis=1), group)

        p, q = tf.gather(p, group), tf.gather(items, column)
        own_share = tf.gather_nd(recent, tf.stack([tf.gather(time, group), column], axis=1))
        own_prior = tf.gather(bias, column) + tf.linalg.matvec(own_share, share_weight)
        positive = tf.reduce_sum(p * q, axis=1) + own_prior
        if sampled:  # the positive itself, and the sample scaled up to all the others
            partition = positive + tf.math.softplus(partition + correction - positive)
        length = tf.gather(tf.gather(l2_of_user, user), group) * tf.reduce_sum(p * p, axis=1)
        length += tf.gather(l2_of_item, column) * tf.reduce_sum(q * q, axis=1)
        loss = partition - positive + length
        return tf.reduce_sum(weight * loss) / tf.reduce_sum(weight)

    ints = tf.TensorSpec([None], tf.int32)
    floats = tf.TensorSpec([None], tf.float32)

    signature = [ints, ints, ints, ints, floats, ints]
    return compiled_step(tf, optimizer, variables, loss_of, signature)
