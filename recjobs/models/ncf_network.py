"""The network of `NeuralCollaborativeFiltering`: in Keras to learn, in panels to score pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.threads import over_rows
from recjobs.topn import top_n_of_scores

if TYPE_CHECKING:
    from recjobs.models.ncf import NcfSettings
    from recjobs.models.ncf_filter import Filter

#: Users that a thread takes at a time: few, so that a small block keeps all threads busy.
ROWS: Final = 16
#: Layers that stay 0, by the setting ``parts``.
_LEFT_AWAY: Final = {"neumf": (), "gmf": ("first", "second", "output"), "mlp": ("product",)}


def build_network(
    keras: Any, n_users: int, n_items: int, settings: NcfSettings, *, seed: int
) -> Any:
    """Return the untrained Keras model: user and item indexes in, scores ``(batch, 1)`` out.

    Args:
        keras: The module.
        n_users: Users in the index.
        n_items: Items in the index.
        settings: The hyperparameters.
        seed: Of the initial weights and the dropout.
    """
    layers, dim = keras.layers, settings.embedding_dim
    seeds = iter(range(seed, seed + 10))

    def embedding(name: str, size: int, width: int) -> Any:
        stddev = 0.05 if width > 1 else 0.0
        normal = keras.initializers.RandomNormal(stddev=stddev, seed=next(seeds))
        return layers.Embedding(size, width, normal, name=name)

    def dense(name: str, width: int, activation: str | None) -> Any:
        uniform = keras.initializers.GlorotUniform(seed=next(seeds))
        return layers.Dense(width, activation, kernel_initializer=uniform, name=name)

    user = keras.Input((), dtype="int32", name="user_idx")
    item = keras.Input((), dtype="int32", name="item_idx")
    p, q = embedding("user", n_users, dim)(user), embedding("item", n_items, dim)(item)
    x = layers.Concatenate(name="pair")([p, q])
    for name, width in zip(("first", "second"), settings.hidden, strict=True):
        x = dense(name, width, "relu")(x)
        x = layers.Dropout(settings.dropout, seed=next(seeds), name=f"{name}_dropout")(x)
    biases = [embedding("user_bias", n_users, 1)(user), embedding("item_bias", n_items, 1)(item)]
    product = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="product")
    parts = [dense("output", 1, None)(x), product(layers.Multiply()([p, q])), *biases]
    score = layers.Add(name="score")(parts)
    network = keras.Model([user, item], score, name="ncf")
    for name in _LEFT_AWAY[settings.parts]:
        layer = network.get_layer(name)
        layer.set_weights([np.zeros_like(weights) for weights in layer.get_weights()])
        layer.trainable = False
    return network


@dataclass(frozen=True)
class Scorer:
    """The trained network as arrays.

    Attributes:
        users: float32, ``(n_users, dim)``.
        items: float32, ``(n_items, dim)``.
        user_bias: float32, ``(n_users,)``.
        item_bias: float32, ``(n_items,)``.
        first: Kernel ``(2 * dim, hidden_1)`` and bias of the first layer.
        second: Kernel ``(hidden_1, hidden_2)`` and bias of the second layer.
        output: Kernel ``(hidden_2, 1)`` and bias of the output.
        product: Weight of each dimension of the vectors' product, ``(dim,)``.
    """

    users: Float32Array
    items: Float32Array
    user_bias: Float32Array
    item_bias: Float32Array
    first: tuple[Float32Array, Float32Array]
    second: tuple[Float32Array, Float32Array]
    output: tuple[Float32Array, Float32Array]
    product: Float32Array

    @classmethod
    def of(cls, network: Any) -> Scorer:
        """Take the weights out of the Keras model."""
        values = {
            name: tuple(np.array(value) for value in network.get_layer(name).get_weights())
            for name in (
                "user",
                "item",
                "user_bias",
                "item_bias",
                "first",
                "second",
                "output",
                "product",
            )
        }
        return cls(
            users=values["user"][0],
            items=values["item"][0],
            user_bias=values["user_bias"][0][:, 0],
            item_bias=values["item_bias"][0][:, 0],
            first=(values["first"][0], values["first"][1]),
            second=(values["second"][0], values["second"][1]),
            output=(values["output"][0], values["output"][1]),
            product=values["product"][0][:, 0],
        )

    def put_into(self, network: Any) -> None:
        """Give the weights to the Keras model."""
        for name, weights in (
            ("user", [self.users]),
            ("item", [self.items]),
            ("user_bias", [self.user_bias[:, None]]),
            ("item_bias", [self.item_bias[:, None]]),
            ("first", self.first),
            ("second", self.second),
            ("output", self.output),
            ("product", [self.product[:, None]]),
        ):
            network.get_layer(name).set_weights(weights)

    def pairs(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        """Return the score of each pair, float32 ``(n,)``."""
        score = np.empty(len(user_idx), dtype=np.float32)
        step = 1 << 13  # what is between the layers stays in the cache
        for start in range(0, len(score), step):
            user, item = user_idx[start : start + step], item_idx[start : start + step]
            p, q = self.users[user], self.items[item]
            x = np.concatenate([p, q], axis=1)
            for kernel, bias in (self.first, self.second):
                x = np.maximum(x @ kernel + bias, 0)
            out = (x @ self.output[0])[:, 0] + self.output[1][0] + (p * q) @ self.product
            score[start : start + step] = out + self.user_bias[user] + self.item_bias[item]
        return score

    def block(self, user_idx: Int32Array) -> Float32Array:
        """Return the scores of all items for some users, float32 ``(b, n_items)``."""
        from recjobs.models import ncf_kernels

        items = self.item_panels
        out = np.empty((len(user_idx), len(self.items)), dtype=np.float32)

        def work(rows: slice) -> None:
            parts, weighted = self.of_users(user_idx[rows])
            ncf_kernels.score_pairs(parts, weighted, *items, *self.second_panels, out[rows])
            self.add_biases(user_idx[rows], out[rows])

        over_rows(work, len(user_idx), ROWS)
        return out

    def top_n(
        self, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each user's n best unseen candidates; see `BlockModel.top_n`."""
        if self._filter is None:
            return top_n_of_scores(self.block(users), users, seen, candidates, n)
        return self._filter.top_n(users, seen, candidates, n)

    def of_users(self, user_idx: Int32Array) -> tuple[Float32Array, Float32Array]:
        """Return what users add to the first layer, and their vectors times the product's weights.

        The first layer is linear in the pair, x_user W_user + x_item W_item + b: each part is
        computed once, and only their sum for each pair.
        """
        from recjobs.models import ncf_kernels

        users = self.users[user_idx]
        return ncf_kernels.user_parts(
            users, self.first[0][: len(self.product)]
        ), users * self.product

    def add_biases(self, user_idx: Int32Array, scores: Float32Array) -> None:
        """Add the biases of items, users and the output to scores, ``(b, n_items)``."""
        scores += self.item_bias
        scores += (self.user_bias[user_idx] + self.output[1][0])[:, None]

    @cached_property
    def item_part(self) -> Float32Array:
        """What the items add to the first layer, its bias with them, ``(n_items, hidden_1)``."""
        kernel, bias = self.first
        return self.items @ kernel[len(self.product) :] + bias

    @cached_property
    def item_panels(self) -> tuple[Float32Array, Float32Array]:
        """What the items add to the first layer, and their vectors, in panels of items."""
        from recjobs.panels import COLUMNS, in_panels

        return in_panels(self.item_part, COLUMNS), in_panels(self.items, COLUMNS)

    @cached_property
    def second_panels(self) -> tuple[Float32Array, Float32Array, Float32Array]:
        """The second layer's kernel and bias, and the output's kernel, in panels of units, flat."""
        from recjobs.panels import ROWS, in_panels

        kernel, bias = self.second
        return (
            in_panels(kernel.T, ROWS).ravel(),
            in_panels(bias[:, None], ROWS).ravel(),
            in_panels(self.output[0], ROWS).ravel(),
        )

    @cached_property
    def _filter(self) -> Filter | None:
        from recjobs.models.ncf_filter import Filter

        return Filter.of(self)
