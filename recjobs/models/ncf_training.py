"""What both trainings of `NeuralCollaborativeFiltering` share: the network and its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, TrainingSet
from recjobs.models.base import Arrays
from recjobs.models.ncf_network import Scorer, build_network
from recjobs.models.training import Weights
from recjobs.models.warm import Start, moved

if TYPE_CHECKING:
    from recjobs.models.ncf import NcfSettings

#: On ratings, where the settings leave it open.
_DROPOUT: Final = 0.5
#: Layers with a row per user or item, beside that of the items' biases.
_ROWS: Final = ("user", "item", "user_bias")


class NcfTrainer:
    """What a trainer begins with, and what it gives.

    Args:
        keras: The module.
        train: What is learned from.
        settings: The hyperparameters.
        seed: Of the initial weights and the dropout.
    """

    known_users: BoolArray
    known_items: BoolArray
    _constant: float = 0.0  # what is added to every score
    _share_weight: Any  # of the recent popularity in the item bias
    _weights: Weights  # what is trained

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

    def keep(self) -> Callable[[], None]:
        """Copy the weights, and return a function that puts them back."""
        return self._weights.keep()

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
