"""Training of `TwoTower`: softmax over the (sampled) catalogue, with ids left out at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import Arrays, with_biases
from recjobs.models.groups import Batch, Groups
from recjobs.models.training import Weights, start_keras
from recjobs.models.two_tower_inputs import (
    Histories,
    dense_features,
    expected_popularity,
    nearest_mapping,
)
from recjobs.models.warm import Start, moved
from recjobs.threads import blas_threads

if TYPE_CHECKING:
    from recjobs.models.two_tower import TwoTowerSettings

#: Of the regression that expects a new item's popularity.
_EXPECTED_L2: Final = 10.0


class TowerTrainer:
    """One fit.

    Args:
        train: With at least one positive, and features of items.
        settings: The hyperparameters.
        seed: Of the initial weights, the order, the samples and the ids left out.
        threads: For TensorFlow.
    """

    def __init__(
        self, train: TrainingSet, settings: TwoTowerSettings, *, seed: int, threads: int
    ) -> None:
        tf, keras = start_keras(seed, threads)
        log, dim = train.log, settings.content_dim
        self._settings = settings
        self._groups = groups = Groups(train, settings.recency_days)
        with blas_threads(threads):  # sums are in another order with others
            self._content = dense_features(log.item_features, train.n_items, dim, seed)
            self._own = dense_features(log.user_features, train.n_users, dim, seed)
        count = np.bincount(
            groups.item_of[groups.batch(np.arange(len(groups))).column], minlength=train.n_items
        )
        with blas_threads(threads):
            self._expected = expected_popularity(self._content, count, _EXPECTED_L2)
        self._histories = Histories(train, self._content, settings.half_life_days)
        self.known_items = groups.known_items | (self._content != 0).any(axis=1)
        self.known_users = groups.known_users | (self._own != 0).any(axis=1)
        self._sampled = settings.negatives < len(groups.item_of)
        self._per_batch = groups.per_batch(settings.batch_size, steps=64)
        self._rng = np.random.default_rng(seed)

        self._variables = _variables(
            keras, groups, self._content.shape[1], self._own.shape[1], settings, seed=seed
        )
        self._weights = Weights(list(self._variables.values()))
        tables = {
            "shares": tf.constant(groups.shares),
            "content": tf.constant(self._content[groups.item_of]),
            "own": tf.constant(self._own),
            "expected": tf.constant(self._expected[groups.item_of]),
        }
        self._step = _step(tf, keras, self._variables, tables, self._sampled, settings)

    def run_epoch(self, number: int) -> float:
        """Train one epoch and return the mean loss."""
        groups = self._groups
        order = self._rng.permutation(len(groups))
        second = self._rng.random(len(self.known_items)) < 0.5
        self._histories.split(second)
        loss = weight = 0.0
        for start in range(0, len(order), self._per_batch):
            batch = groups.batch(order[start : start + self._per_batch])
            total = float(batch.weight.sum())
            loss += float(self._step(*self._inputs(batch, second[groups.item_of]))) * total
            weight += total
        return loss / weight

    def start_from(self, start: Start) -> None:
        """Begin with another fit's weights where it has them.

        What it makes of features is learned again from what it made of them: the features' places
        are each night's own.
        """
        own = dict(zip(self._variables, self._weights.arrays(), strict=True))
        rest = start.model.rest
        items, users = start.items, start.users
        for name, features, of_all in (
            ("content", self._content, items),
            ("liked", self._content, items),
            ("own", self._own, users),
        ):
            mapping = nearest_mapping(features, rest[name], of_all, own[name])
            own[name] = start.mixed(own[name], mapping)
        users = np.where(rest["learned_users"][users], users, np.int32(-1))
        items = items[self._groups.item_of]
        items = np.where(rest["learned_items"][items], items, np.int32(-1))
        own["users"] = start.rows(own["users"], rest["users"], users)
        own["items"] = start.rows(own["items"], rest["items"], items)
        if rest["share_weight"].shape == own["share_weight"].shape:  # else biases mean other things
            own["bias"] = moved(own["bias"], rest["bias"], items)
            own |= {name: rest[name] for name in ("share_weight", "expected", "new")}
        self._weights.put(list(own.values()))

    def rest(self) -> Arrays:
        """Return the parts of the vectors and biases; see `Model.rest`."""
        value = dict(zip(self._variables, self._weights.arrays(), strict=True))
        for name in ("items", "bias"):
            rows = np.zeros((len(self.known_items), *value[name].shape[1:]), dtype=np.float32)
            rows[self._groups.item_of] = value[name]
            value[name] = rows
        for name in ("content", "liked"):
            value[name] = self._content @ value[name]
        value["own"] = self._own @ value["own"]
        groups = self._groups
        return {
            **value,
            "learned_users": groups.known_users,
            "learned_items": groups.known_items,
        }

    def _inputs(self, batch: Batch, second: Any) -> tuple[Any, ...]:
        """Return the step's arguments: each group of the batch in two rows, one for each part."""
        groups, dropout = self._groups, self._settings.id_dropout
        row, of_pair = np.unique(2 * batch.group + second[batch.column], return_inverse=True)
        user, part = batch.user[row // 2], row % 2 == 1
        n_columns = len(groups.item_of)
        drawn, log_chance = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
        if self._sampled:
            drawn, log_chance = groups.draw(self._settings.negatives, self._rng)
        return (
            user,
            self._histories.from_other_part(user, part),
            (self._rng.random(len(user)) >= dropout).astype(np.float32),
            (self._rng.random(n_columns) >= dropout).astype(np.float32),
            batch.time[row // 2],
            of_pair.astype(np.int32),
            batch.column,
            batch.weight,
            drawn,
            log_chance,
        )

    def vectors(self) -> tuple[Float32Array, Float32Array]:
        """Return user and item vectors with their biases; 0 for the unknown ones."""
        groups = self._groups
        value = dict(zip(self._variables, self._weights.arrays(), strict=True))
        users = value["users"] * groups.known_users[:, None]
        users += self._histories.projected(value["liked"]) + self._own @ value["own"]
        users *= self.known_users[:, None]
        items = self._content @ value["content"]
        bias = self._expected * value["expected"] + value["new"]
        items[groups.item_of] += value["items"]
        bias[groups.item_of] = value["bias"] + groups.shares[-1] @ value["share_weight"]
        items, bias = items * self.known_items[:, None], bias * self.known_items
        return with_biases(users, np.zeros(len(users), dtype=np.float32), items, bias)

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        return self._weights.keep()


def _variables(
    keras: Any, groups: Groups, dim: int, own_dim: int, settings: TwoTowerSettings, *, seed: int
) -> dict[str, Any]:
    """Return what is learned, by name."""
    rng = np.random.default_rng(seed)
    width, n_columns, n_shares = settings.embedding_dim, *groups.shares.shape[1:]

    def normal(rows: int) -> Any:
        return keras.Variable(rng.normal(0, 0.1, (rows, width)).astype(np.float32))

    return {
        "users": normal(len(groups.known_users)),
        "items": normal(n_columns),
        "liked": normal(dim),
        "content": normal(dim),
        "own": normal(own_dim),
        "bias": keras.Variable(groups.first_bias),
        "share_weight": keras.Variable(np.full(n_shares, 1 / n_shares, dtype=np.float32)),
        "expected": keras.Variable(np.ones(1, dtype=np.float32)),
        "new": keras.Variable(np.zeros(1, dtype=np.float32)),
    }


def _step(
    tf: Any,
    keras: Any,
    variables: dict[str, Any],
    tables: dict[str, Any],
    sampled: bool,
    settings: TwoTowerSettings,
) -> Callable[..., Any]:
    """Return the compiled training step: a batch's arrays in, its mean loss out."""
    learned = list(variables.values())
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    optimizer.build(learned)
    v = {name: variable.value for name, variable in variables.items()}
    shares = tables["shares"]

    def loss_of(
        user: Any, history: Any, keep_user: Any, keep_item: Any, time: Any,
        row: Any, column: Any, weight: Any, drawn: Any, log_chance: Any,
    ) -> Any:  # fmt: skip
        p = tf.gather(v["users"], user) * keep_user[:, None] + tf.matmul(history, v["liked"])
        p += tf.matmul(tf.gather(tables["own"], user), v["own"])

        def tower(columns: Any) -> tuple[Any, Any, Any, Any]:
            keep, content = tf.gather(keep_item, columns), tf.gather(tables["content"], columns)
            q = tf.gather(v["items"], columns) * keep[:, None] + tf.matmul(content, v["content"])
            expected = tf.gather(tables["expected"], columns) * v["expected"] + v["new"]
            return q, keep, tf.gather(v["bias"], columns) * keep + expected * (1 - keep), columns

        q, keep, bias, columns = tower(drawn if sampled else tf.range(shares.shape[1]))
        recent = tf.linalg.matvec(tf.gather(shares, columns, axis=1), v["share_weight"])
        logits = tf.matmul(p, q, transpose_b=True) + bias + tf.gather(recent * keep, time)
        if sampled:
            logits -= log_chance
        partition = tf.gather(tf.reduce_logsumexp(logits, axis=1), row)

        p = tf.gather(p, row)
        q, keep, bias, _ = tower(column)
        at = tf.stack([tf.gather(time, row), column], axis=1)
        recent = tf.linalg.matvec(tf.gather_nd(shares, at), v["share_weight"])
        positive = tf.reduce_sum(p * q, axis=1) + bias + recent * keep
        if sampled:
            partition = tf.reduce_logsumexp(tf.stack([partition, positive]), axis=0)
        length = tf.reduce_sum(p * p + q * q, axis=1)
        loss = partition - positive + settings.l2 * length
        return tf.reduce_sum(weight * loss) / tf.reduce_sum(weight)

    ints, floats = tf.TensorSpec([None], tf.int32), tf.TensorSpec([None], tf.float32)
    rows = tf.TensorSpec([None, tables["content"].shape[1]], tf.float32)
    signature = [ints, rows, floats, floats, ints, ints, ints, floats, ints, floats]

    @tf.function(autograph=False, input_signature=signature)
    def step(*batch: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        gradients = tape.gradient(loss, learned, unconnected_gradients="zero")
        optimizer.apply(gradients, learned)
        return loss

    compiled: Callable[..., Any] = step
    return compiled
