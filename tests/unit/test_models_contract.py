"""Every model of the registry under the contract."""

from __future__ import annotations

from typing import Any, ClassVar

from contracts import ModelContract
from recjobs.models import REGISTRY

#: Enough steps for a set of 24 users, whose times mean nothing.
_FACTORS = {"embedding_dim": 8, "learning_rate": 0.05, "epochs": 60, "recency_days": []}


class TestPopular(ModelContract):
    name = "popular"
    personal = False
    misspelt = ("half_life", "half_life_days")


class TestItemKnn(ModelContract):
    name = "item_knn"
    params: ClassVar[dict[str, Any]] = {"shrinkage": 0.0}
    misspelt = ("neighbors", "neighbours")


class TestEase(ModelContract):
    name = "ease"
    misspelt = ("l_2", "l2")


class TestIals(ModelContract):
    name = "ials"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 8}
    misspelt = ("alpha", "alpha0")


class TestMf(ModelContract):
    name = "mf"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "l2": 0.01}
    misspelt = ("embedding_size", "embedding_dim")


class TestMfRatings(ModelContract):
    name = "mf"
    feedback = "explicit"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 8, "learning_rate": 0.05, "l2": 0.01}
    misspelt = ("epoch", "epochs")


class TestNcf(ModelContract):
    name = "ncf"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "learning_rate": 0.02, "l2": 0.01}
    misspelt = ("drop_out", "dropout")


class TestNcfRatings(ModelContract):
    name = "ncf"
    feedback = "explicit"
    params: ClassVar[dict[str, Any]] = {
        "embedding_dim": 8,
        "learning_rate": 0.05,
        "dropout": 0.0,
        "batch_size": 16,
    }
    misspelt = ("hiden", "hidden")


def test_every_model_is_under_the_contract() -> None:
    assert {cls.name for cls in ModelContract.__subclasses__()} == set(REGISTRY)
