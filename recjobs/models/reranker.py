"""A blend's best items put into a new order by a network that learned from held-out choices.

Score: a * s + w2 . relu(W1 f + b1), where s is the blend's score and f what is known of the user
and the item: each model's scaled score, the item's place in the blend's order, its popularity in
all and in the last days, and the length of the user's history. Loss: the cross entropy between
the softmax over a user's candidates and what the user chose of them (ListNet: Cao, Qin, Liu, Tsai
and Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007). It begins as
the blend itself (a = 1, w2 = 0).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.models.recency import recency
from recjobs.models.training import start_keras
from recjobs.threads import over_rows
from recjobs.topn import top_n_of_scores

#: Of the recent popularity.
_HALF_LIVES: Final = (7.0, 30.0)
_HIDDEN: Final = 16
_EPOCHS: Final = 10
_BATCH_USERS: Final = 32
_LEARNING_RATE: Final = 0.01
_WEIGHT_DECAY: Final = 0.01
#: Scaled features beyond it say no more.
_MOST: Final = 10.0
_SCORED_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of items and users without any model.

    Attributes:
        items: Log popularity, in all and of late, float32 ``(n_items, n_facts)``.
        history: Length of each user's, int32 ``(n_users,)``.
    """

    items: Float32Array
    history: Int32Array

    @classmethod
    def of(cls, train: TrainingSet) -> Self:
        """Count a training set."""
        liked = train.positive
        count = np.bincount(train.item_idx[liked], minlength=train.n_items)
        late = recency(train.item_idx[liked], train.ts[liked], train.n_items, _HALF_LIVES)
        items = np.column_stack([np.log1p(count), late.shares[-1]]).astype(np.float32)
        return cls(items, np.diff(train.indptr).astype(np.int32))


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best items of some users by the blend, best first.

    Attributes:
        item_idx: int32, ``(b, c)``; -1 where there is none.
        blended: The blend's scores, float32 ``(b, c)``; -inf where there is none.
        features: float32, ``(b, c, n_features)``.
    """

    item_idx: Int32Array
    blended: Float32Array
    features: Float32Array

    @classmethod
    def of(
        cls,
        users: Int32Array,
        facts: Facts,
        every: list[Float32Array],
        blended: Float32Array,
        known: BoolArray,
        most: int,
    ) -> Self:
        """Look up a block of users.

        Args:
            users: int32, ``(b,)``.
            facts: Of the training set.
            every: Each model's scaled scores, ``(b, n_items)``.
            blended: Their weighted sum; -inf where no model knows the item.
            known: bool, ``(n_items,)``.
            most: How many a user has; as many more as the user's history is long, but at most
                twice as many, for lists mostly leave that out.
        """
        reach = most + np.minimum(facts.history[users], most)
        nothing = SeenItems(np.zeros(len(facts.history) + 1, np.int64), np.empty(0, np.int32))
        item_idx, score = top_n_of_scores(
            blended.copy(), users, nothing, known, min(2 * most, int(known.sum()))
        )
        beyond = np.arange(item_idx.shape[1]) >= reach[:, None]
        item_idx[beyond], score[beyond] = -1, -np.inf
        item = np.maximum(item_idx, 0)
        features = np.empty((*item.shape, len(every) + 2 + facts.items.shape[1]), dtype=np.float32)
        for number, scores in enumerate(every):
            features[:, :, number] = np.take_along_axis(scores, item, axis=1)
        features[:, :, len(every)] = np.log2(2 + np.arange(item.shape[1]))
        features[:, :, len(every) + 1] = np.log1p(facts.history[users])[:, None]
        features[:, :, len(every) + 2 :] = facts.items[item]
        return cls(item_idx, score, features)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return those of several blocks of users as one."""
        return cls(
            np.concatenate([each.item_idx for each in parts]),
            np.concatenate([each.blended for each in parts]),
            np.concatenate([each.features for each in parts]),
        )

    def only(self, wanted: BoolArray) -> Self:
        """Return the wanted of them, bool ``(b, c)``, moved up."""
        wanted = wanted & (self.item_idx >= 0)
        first = np.argsort(~wanted, axis=1, kind="stable")[:, : int(wanted.sum(axis=1).max())]
        there = np.take_along_axis(wanted, first, axis=1)
        return type(self)(
            np.where(there, np.take_along_axis(self.item_idx, first, axis=1), -1),
            np.where(there, np.take_along_axis(self.blended, first, axis=1), -np.inf),
            np.take_along_axis(self.features, first[:, :, None], axis=1),
        )

    def of_rows(self, rows: BoolArray) -> Self:
        """Return those of some of the users."""
        return type(self)(self.item_idx[rows], self.blended[rows], self.features[rows])


@dataclass(frozen=True, slots=True)
class Reranker:
    """The network, all float32.

    Attributes:
        mean: Of the features, ``(n_features,)``.
        deviation: Of the features, ``(n_features,)``.
        hidden: W1, ``(n_features, 16)``.
        bias: b1, ``(16,)``.
        out: w2, ``(16,)``.
        scale: a, ``()``.
    """

    mean: Float32Array
    deviation: Float32Array
    hidden: Float32Array
    bias: Float32Array
    out: Float32Array
    scale: Float32Array

    def score(self, given: Candidates) -> Float32Array:
        """Return the new scores, float32 ``(b, c)``; -inf where there is no candidate.

        A candidate's score does not depend on what stands beside it.
        """
        from recjobs.models.reranker_kernels import score_rows

        scores = np.empty(given.blended.shape, dtype=np.float32)
        there = given.item_idx >= 0
        blended = np.where(there, given.blended, np.float32(0))

        def work(rows: slice) -> None:
            scaled = _scaled(given.features[rows], self.mean, self.deviation)
            score_rows(
                scaled, blended[rows], self.hidden, self.bias, self.out,
                np.float32(self.scale), scores[rows],
            )  # fmt: skip

        over_rows(work, len(scores), _SCORED_ROWS)
        scores[~there] = -np.inf
        return scores

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return its attributes by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: array.tolist() for name, array in self.arrays().items()}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Self:
        """Return what `plain` was made of."""
        return cls(**{name: np.asarray(value, np.float32) for name, value in plain.items()})

    @classmethod
    def learn(cls, given: Candidates, liked: BoolArray, *, seed: int, threads: int) -> Self | None:
        """Learn from users' choices among their candidates; None where they chose none of them.

        Args:
            given: Some users' candidates.
            liked: What they chose, bool ``(b, c)``.
            seed: Of the first weights and of the order of the users.
            threads: TensorFlow's.
        """
        chose: BoolArray = np.logical_or.reduce(liked, axis=1)
        if not chose.any():
            return None
        given, liked = given.of_rows(chose), liked[chose]
        there = given.item_idx >= 0
        known = given.features[there]
        # In float64: down a column of a million rows, a sum in float32 goes astray.
        mean = known.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = np.maximum(known.std(axis=0, dtype=np.float64), 1e-6).astype(np.float32)
        inputs = (
            _scaled(given.features, mean, deviation),
            np.where(there, given.blended, 0)[:, :, None],
        )
        # Below 0: no candidate.
        target = np.where(there, liked / liked.sum(axis=1, keepdims=True), -1).astype(np.float32)
        network = _network(inputs[0].shape[2], seed, threads)
        rng = np.random.default_rng(seed)
        for _ in range(_EPOCHS):
            order = rng.permutation(len(target))
            for start in range(0, len(order), _BATCH_USERS):
                rows = order[start : start + _BATCH_USERS]
                network.train_on_batch([each[rows] for each in inputs], target[rows])
        hidden, bias = network.get_layer("hidden").get_weights()
        (out,), (scale,) = (network.get_layer(name).get_weights() for name in ("out", "scale"))
        return cls(mean, deviation, hidden, bias, out[:, 0], scale[0, 0])


def _network(n_features: int, seed: int, threads: int) -> Any:
    """Return the compiled network: features ``(b, c, n)`` and the blend's scores ``(b, c, 1)``."""
    tf, keras = start_keras(seed, threads)
    layers = keras.layers
    features, blended = keras.Input((None, n_features)), keras.Input((None, 1))
    inner = layers.Dense(_HIDDEN, activation="relu", name="hidden")(features)
    added = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="out")(inner)
    scaled = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="scale")(blended)
    network = keras.Model([features, blended], layers.Reshape((-1,))(scaled + added))

    def loss(target: Any, scores: Any) -> Any:
        scores = tf.where(target < 0, np.float32(-1e9), scores)
        return -tf.reduce_sum(tf.maximum(target, 0.0) * tf.nn.log_softmax(scores), axis=1)

    network.compile(keras.optimizers.Adam(_LEARNING_RATE, weight_decay=_WEIGHT_DECAY), loss)
    return network


def _scaled(features: Float32Array, mean: Float32Array, deviation: Float32Array) -> Float32Array:
    scaled: Float32Array = np.clip((features - mean) / deviation, -_MOST, _MOST)
    return scaled
