"""Training of `NeuralCollaborativeFiltering`, on ratings and on implicit feedback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, TrainingSet
from recjobs.models.base import Arrays
from recjobs.models.groups import Groups
from recjobs.models.ncf_network import Scorer, build_network
from recjobs.models.ratings import Ratings
from recjobs.models.training import Adam, Weights, start_keras
from recjobs.models.warm import Start, moved

if TYPE_CHECKING:
    from recjobs.models.ncf import NcfSettings

#: What is left of the learning rate after an epoch on ratings: later epochs would overfit at it.
_DECAY: Final = 0.5
#: On ratings, where the settings leave them open.
_DROPOUT: Final = 0.5
_RATINGS_RATE: Final = 0.01
#: On implicit feedback, where they do.
_RATE: Final = 0.003
#: Layers with a row per user or item, beside that of the items' biases.
_ROWS: Final = ("user", "item", "user_bias")


class _Trainer:
    """What both trainers share: the network and its weights."""

    known_users: BoolArray
    known_items: BoolArray
    _constant: float = 0.0  # what is added to every score
    _share_weight: Any  # of the recent popularity in the item bias

    def __init__(self, keras: Any, train: TrainingSet, settings: NcfSettings, seed: int) -> None:
        if settings.dropout is None:
            dropout = _DROPOUT if train.feedback == "explicit" else 0.0
            settings = settings.model_copy(update={"dropout": dropout})
        self._network = build_network(keras, train.n_users, train.n_items, settings, seed=seed)

    def start_from(self, start: Start) -> None:
        """Begin with another fit's weights where it has them."""
        network, rest = start.model.network, start.model.rest
        for name in ("first", "second", "output", "product"):
            layer, theirs = self._layer(name), network.get_layer(name).get_weights()
            if name == "output":
                theirs[1] = theirs[1] - np.float32(self._constant)
            initial = [start.mixed(*pair) for pair in zip(layer.get_weights(), theirs, strict=True)]
            layer.set_weights(initial)
        rows = {name: network.get_layer(name).get_weights()[0] for name in _ROWS}
        if rest["share_weight"].shape == self._share_weight.shape:  # else biases mean other things
            rows["item_bias"] = rest["item_bias"]
            self._share_weight.assign(rest["share_weight"])
        for name, theirs in rows.items():
            layer = self._layer(name)
            place = start.users if name.startswith("user") else start.items
            mixed = moved if name.endswith("bias") else start.rows
            layer.set_weights([mixed(layer.get_weights()[0], theirs, place)])

    def rest(self) -> Arrays:
        """Return the parts of the biases; see `Model.rest`."""
        return {
            "item_bias": self._layer("item_bias").get_weights()[0],
            "share_weight": np.array(self._share_weight.numpy()),
        }

    def finish(self, scorer: Scorer) -> Any:
        """Return the network with a scorer's weights; there is no training after that."""
        scorer.put_into(self._network)
        return self._network

    def _layer(self, name: str) -> Any:
        return self._network.get_layer(name)

    def _scorer(self, item_bias: Float32Array) -> Scorer:
        """Return the weights with final biases, and 0 for what training did not know."""
        now = Scorer.of(self._network)
        kernel, bias = now.output
        return replace(
            now,
            users=now.users * self.known_users[:, None],
            items=now.items * self.known_items[:, None],
            user_bias=now.user_bias * self.known_users,
            item_bias=item_bias * self.known_items,
            output=(kernel, bias + np.float32(self._constant)),
        )


class NcfRatingsTrainer(_Trainer):
    """One fit on ratings; see `recjobs.models.mf_softmax.SoftmaxTrainer`."""

    def __init__(
        self, train: TrainingSet, settings: NcfSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        super().__init__(keras, train, settings, seed)
        self._rate = settings.learning_rate or _RATINGS_RATE
        self._ratings = Ratings(train, settings.batch_size, seed)
        self.known_users, self.known_items = self._ratings.known_users, self._ratings.known_items
        self._constant = self._ratings.mean
        self._share_weight = keras.Variable(np.zeros(0, dtype=np.float32))
        self._weights = Weights(self._network.trainable_variables)
        self._epoch = _ratings_epoch(tf, self._network, settings.l2)

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        rate = np.float32(self._rate * _DECAY ** (number - 1))
        return float(self._epoch(rate, *self._ratings.batches()))

    def scorer(self) -> Scorer:
        """Return the present weights; they score the rating itself."""
        return self._scorer(self._layer("item_bias").get_weights()[0][:, 0])

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        return self._weights.keep()


class NcfSoftmaxTrainer(_Trainer):
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
        self._step = _softmax_step(tf, optimizer, self._network, variables, groups, settings.l2)

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

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        return self._weights.keep()


def _ratings_epoch(tf: Any, network: Any, l2: float) -> Callable[..., Any]:
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


def _softmax_step(
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

    @tf.function(autograph=False, input_signature=[ints, ints, ints, ints, floats, ints, floats])
    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    compiled: Callable[..., Any] = step
    return compiled
