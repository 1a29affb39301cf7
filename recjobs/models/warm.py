"""Warm start: an earlier fit's weights as the start of another, their rows matched by raw id.

Weights that were trained to their best overfit where they are trained on. So a start can be a mix
of theirs and of the initial, random ones: what they know is kept in which way they point, and there
is room to learn again. Ash and Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, TrainingSet
from recjobs.index import Index


@dataclass(frozen=True, slots=True)
class Start:
    """A fitted model, and where it has the users and items of another training set.

    Attributes:
        model: Of the class that starts from it, with the same hyperparameters.
        users: Its index of each user of the set, int32 ``(n_users,)``; -1 for whom it did not
            learn.
        items: Its index of each item of the set, int32 ``(n_items,)``; -1 for what it did not
            learn.
        kept: The share of its weights in the start, above 0 and at most 1; biases are kept whole.
    """

    model: Any
    users: Int32Array
    items: Int32Array
    kept: float = 1.0

    @classmethod
    def of(
        cls, model: Any, users: Index, items: Index, train: TrainingSet, kept: float = 1.0
    ) -> Self:
        """Match by raw id.

        Args:
            model: The fitted model.
            users: Its index of users.
            items: Its index of items.
            train: What is to be learned from.
            kept: See the class.
        """
        return cls(
            model,
            _known(users.encode(train.users.ids), model.known_users),
            _known(items.encode(train.items.ids), model.known_items),
            kept,
        )

    def mixed(self, initial: Float32Array, theirs: Float32Array) -> Float32Array:
        """Return weights to start with, both of one shape."""
        kept = np.float32(self.kept)
        mix: Float32Array = kept * theirs + (1 - kept) * initial
        return mix

    def rows(self, initial: Float32Array, theirs: Float32Array, place: Int32Array) -> Float32Array:
        """Return rows to start with: a mix where there are theirs, and else the initial ones.

        Args:
            initial: ``(n, dim)``.
            theirs: Rows of the other fit, ``(their_n, dim)``.
            place: Which of them each row is, int32 ``(n,)``; -1 for none.
        """
        return self.mixed(initial, moved(initial, theirs, place))


def moved(initial: Float32Array, theirs: Float32Array, place: Int32Array) -> Float32Array:
    """Return rows of another fit where there are any, and else the initial ones.

    Args:
        initial: ``(n, ...)``.
        theirs: Rows of the other fit.
        place: Which of them each row is, int32 ``(n,)``; -1 for none.
    """
    rows = initial.copy()
    rows[place >= 0] = theirs[place[place >= 0]]
    return rows


def _known(place: Int32Array, known: BoolArray) -> Int32Array:
    learned = (place >= 0) & known[np.maximum(place, 0)]
    return np.where(learned, place, np.int32(-1)).astype(np.int32)
