"""Models whose scores, ratings and fits a test knows beforehand, for the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.models.base import CLOSED_FORM, Arrays, BlockModel, Epoch, FactorModel, History, Model

STUBS = {
    name: f"stub_models:{cls}"
    for name, cls in {
        "scored": "Scored",
        "factored": "Factored",
        "rated": "Rated",
        "epochs": "Epochs",
        "ordered": "Ordered",
    }.items()
}


class StubSettings(Section):
    """Hyperparameters of every type that the command line can spell."""

    size: int = 1
    share: float = 0.5
    flag: bool = False
    word: str = "plain"
    days: tuple[float, ...] = ()


def number(key: Any) -> int:
    """The number in an id: 12 of 12 and of "i12"."""
    return int(str(key).lstrip("ui"))


def score_of(user: Any, item: Any) -> float:
    """Scores with many ties, and some missing."""
    u, i = number(user), number(item)
    return -np.inf if (u + i) % 6 == 0 else float((7 * u + 13 * i) % 5)


def user_known(user: Any) -> bool:
    """Whether the stubs know a user of T."""
    return number(user) % 5 != 0


def item_known(item: Any) -> bool:
    """Whether the stubs know an item of T or I."""
    return number(item) % 7 != 0


class Stub(Model):
    """What the stubs share: nothing is learned, every fit is remembered."""

    Settings: ClassVar[type[Section]] = StubSettings
    fits: ClassVar[list[dict[str, Any]]] = []
    on_fit: ClassVar[Callable[[], None]] = staticmethod(lambda: None)

    def fit(self, train: TrainingSet, **given: Any) -> History:
        Stub.fits.append({"train": train, "model": self, **given})
        Stub.on_fit()
        self.users = train.users.ids.to_pylist()
        self.items = train.items.ids.to_pylist()
        self.known_users = np.array([user_known(each) for each in self.users], np.bool_)
        self.known_items = np.array([item_known(each) for each in self.items], np.bool_)
        return CLOSED_FORM

    def relation(self) -> None:
        return None

    def _state(self) -> Arrays:
        return {}

    def _restore(self, arrays: Arrays) -> None:
        pass


class Scored(Stub, BlockModel):
    """Scores by `score_of`."""

    name = "scored"

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        rows = [[score_of(self.users[u], item) for item in self.items] for u in user_idx]
        return np.array(rows, dtype=np.float32).reshape(len(user_idx), len(self.items))


class Factored(Stub, FactorModel):
    """Scores by the product of two small numbers."""

    name = "factored"

    def factors(self) -> tuple[Float32Array, Float32Array]:
        users = np.array([[1 + number(each) % 3] for each in self.users], np.float32)
        return users, np.array([[number(each) % 4] for each in self.items], np.float32)


class Rated(Factored):
    """Predicts a rating for each pair; some are off the scale."""

    name = "rated"

    def predict(self, user_idx: Int32Array, item_idx: Int32Array) -> Float32Array:
        left, right = self.factors()
        return (left[user_idx] * right[item_idx])[:, 0]


class Epochs(Scored):
    """Trains in epochs, and finds the third to be the best."""

    name = "epochs"
    selects_epochs = True

    def fit(self, train: TrainingSet, **given: Any) -> History:
        super().fit(train, **given)
        return History((Epoch(1, 1.0, None),), given.get("epochs") or 3, "ndcg@10")


class Ordered(Scored):
    """Learns from the order of a user's rows."""

    name = "ordered"
    needs_time = True
