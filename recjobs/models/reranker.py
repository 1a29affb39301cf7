"""A blend's best items put into a new order by a network that learned from held-out choices.

Score: a * s + w2 . relu(W1 f + b1), where s is the blend's score and f what is known of the user
and the item: each model's scaled score, the item's place in the blend's order, its popularity in
all and in the last days, its age, and the length of the user's history. Loss: the cross entropy
between the softmax over a user's candidates and what the user chose of them (ListNet: Cao, Qin,
Liu, Tsai and Li, "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007). It
begins as the blend itself (a = 1, w2 = 0), and is the mean of a few networks that begin elsewhere
in W1: one with as many times the units.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from recjobs.dataset import BoolArray, Float32Array
from recjobs.models.candidates import Candidates
from recjobs.models.training import start_keras
from recjobs.threads import over_rows

_NETWORKS: Final = 4
#: Of each network.
_HIDDEN: Final = 16
_EPOCHS: Final = 10
_BATCH_USERS: Final = 32
#: Adam's at first; it falls to 0 along a cosine.
_LEARNING_RATE: Final = 0.01
_WEIGHT_DECAY: Final = 0.01
#: Scaled features beyond it say no more.
_FURTHEST: Final = 10.0
#: So much of its range may a feature go beyond it, once the network has learned.
_BEYOND: Final = 0.1
_SCORED_ROWS: Final = 64


@dataclass(frozen=True, slots=True)
class Reranker:
    """The mean of the networks as one network, all float32.

    Attributes:
        mean: Of the features, ``(n_features,)``.
        deviation: Of the features, ``(n_features,)``.
        least: Of each feature, ``(n_features,)``; what is less counts as this, a little below the
            least it learned from. The lists are made with more days than that, and where a feature
            did not vary the weights are as they were drawn.
        most: Likewise, ``(n_features,)``.
        hidden: W1, ``(n_features, n_hidden)``.
        bias: b1, ``(n_hidden,)``.
        out: w2, ``(n_hidden,)``.
        scale: a, ``()``.
    """

    mean: Float32Array
    deviation: Float32Array
    least: Float32Array
    most: Float32Array
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
        scaling = self.mean, self.deviation, self.least, self.most

        def work(rows: slice) -> None:
            scaled = _scaled(given.features[rows], *scaling)
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
        low, high = known.min(axis=0), known.max(axis=0)
        beyond = _BEYOND * (high - low)
        least = np.maximum(low - beyond, mean - _FURTHEST * deviation)
        most = np.minimum(high + beyond, mean + _FURTHEST * deviation)
        scaling = mean, deviation, least, most
        inputs = (
            _scaled(given.features, *scaling),
            np.where(there, given.blended, 0)[:, :, None],
        )
        # Below 0: no candidate.
        share = np.where(there, liked / liked.sum(axis=1, keepdims=True), -1)
        target = share.astype(np.float32)[:, :, None]
        steps = _EPOCHS * -(-len(target) // _BATCH_USERS)
        network = _network(inputs[0].shape[2], steps, seed, threads)
        rng = np.random.default_rng(seed)
        for _ in range(_EPOCHS):
            order = rng.permutation(len(target))
            for start in range(0, len(order), _BATCH_USERS):
                rows = order[start : start + _BATCH_USERS]
                network.train_on_batch([each[rows] for each in inputs], target[rows])
        hidden, bias = network.get_layer("hidden").get_weights()
        (out,), (scale,) = (network.get_layer(name).get_weights() for name in ("out", "scale"))
        return cls(*scaling, hidden, bias, out.ravel() / _NETWORKS, scale.mean())


def _network(n_features: int, steps: int, seed: int, threads: int) -> Any:
    """Return the compiled networks side by side, to be trained for a number of steps.

    Of features ``(b, c, n_features)`` and the blend's scores ``(b, c, 1)`` they make ``(b, c, 4)``;
    the target is ``(b, c, 1)``.
    """
    tf, keras = start_keras(seed, threads)
    layers = keras.layers
    features, blended = keras.Input((None, n_features)), keras.Input((None, 1))
    inner = layers.Dense(_NETWORKS * _HIDDEN, activation="relu", name="hidden")(features)
    added = layers.EinsumDense(
        "bcnh,nh->bcn", output_shape=(None, _NETWORKS), kernel_initializer="zeros", name="out"
    )(layers.Reshape((-1, _NETWORKS, _HIDDEN))(inner))
    scaled = layers.Dense(_NETWORKS, use_bias=False, kernel_initializer="ones", name="scale")
    network = keras.Model([features, blended], scaled(blended) + added)

    def loss(target: Any, scores: Any) -> Any:
        scores = tf.where(target < 0, np.float32(-1e9), scores)
        likely = tf.nn.log_softmax(scores, axis=1)
        return -tf.reduce_sum(tf.maximum(target, 0.0) * likely, axis=[1, 2])

    rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    network.compile(keras.optimizers.Adam(rate, weight_decay=_WEIGHT_DECAY), loss)
    return network


def _scaled(
    features: Float32Array,
    mean: Float32Array,
    deviation: Float32Array,
    least: Float32Array,
    most: Float32Array,
) -> Float32Array:
    scaled: Float32Array = (np.clip(features, least, most) - mean) / deviation
    return scaled
