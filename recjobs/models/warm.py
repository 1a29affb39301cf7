"""Warm start: an earlier fit's weights as the start of another, their rows matched by raw id."""

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
    """

    model: Any
    users: Int32Array
    items: Int32Array

    @classmethod
    def of(cls, model: Any, users: Index, items: Index, train: TrainingSet) -> Self:
        """Match by raw id.

        Args:
            model: The fitted model.
            users: Its index of users.
            items: Its index of items.
            train: What is to be learned from.
        """
        return cls(
            model,
            _known(users.encode(train.users.ids), model.known_users),
            _known(items.encode(train.items.ids), model.known_items),
        )


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
