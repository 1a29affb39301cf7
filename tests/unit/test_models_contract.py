"""Every model of the registry under the contract."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from contracts import ModelContract, colours
from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import TrainingSet, training_set
from recjobs.errors import DataError
from recjobs.models import REGISTRY

#: Enough steps for a set of 24 users, whose times mean nothing.
_FACTORS = {"embedding_dim": 8, "learning_rate": 0.05, "epochs": 60, "recency_days": []}
#: Of models that read histories in order.
_SEQUENCES = {
    "embedding_dim": 16,
    "length": 12,
    "learning_rate": 0.01,
    "epochs": 15,
    "dropout": 0.2,
}


class TestPopular(ModelContract):
    name = "popular"
    personal = False
    misspelt = ("half_life", "half_life_days")


class TestUserKnn(ModelContract):
    name = "user_knn"
    params: ClassVar[dict[str, Any]] = {"shrinkage": 0.0}
    misspelt = ("neighbors", "neighbours")


class TestItemKnn(ModelContract):
    name = "item_knn"
    params: ClassVar[dict[str, Any]] = {"shrinkage": 0.0}
    misspelt = ("neighbors", "neighbours")


class TestEase(ModelContract):
    name = "ease"
    misspelt = ("l_2", "l2")


class TestElsa(ModelContract):
    name = "elsa"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 8, "epochs": 60}
    misspelt = ("epoch", "epochs")


class TestIals(ModelContract):
    name = "ials"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 8}
    misspelt = ("alpha", "alpha0")


class TestGraphFilter(ModelContract):
    name = "graph_filter"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 2}
    misspelt = ("ideal", "ideal_weight")


class TestMf(ModelContract):
    name = "mf"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "l2": 0.01}
    misspelt = ("embedding_size", "embedding_dim")


class TestMfOfSparseData(TestMf):
    params: ClassVar[dict[str, Any]] = {
        **TestMf.params, "epochs": 30, "start": "spectral", "l2_per": "vector"
    }  # fmt: skip
    misspelt = ("l2_pre", "l2_per")


class TestMfRatings(ModelContract):
    name = "mf"
    feedback = "explicit"
    params: ClassVar[dict[str, Any]] = {"embedding_dim": 8, "learning_rate": 0.05, "l2": 0.01}
    misspelt = ("epoch", "epochs")


class TestNcf(ModelContract):
    name = "ncf"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "learning_rate": 0.02, "l2": 0.01}
    misspelt = ("drop_out", "dropout")


class TestNcfWithDropout(TestNcf):
    params: ClassVar[dict[str, Any]] = {**TestNcf.params, "dropout": 0.3}


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


class _InTurn(ModelContract):
    """For models of what follows what: on this board, anything of the same colour."""

    def checkerboard(self) -> TrainingSet:
        rng = np.random.default_rng(7)
        turns = [rng.permutation(np.arange(user % 2, 24, 2)) for user in range(24)]
        return self.set_of(
            [
                (user, int(item), float(turn), 5.0)
                for user, items in enumerate(turns)
                for turn, item in enumerate(items)
                if item != user
            ]
        )

    def test_trains_on_one_user_and_one_item(self) -> None:
        """What follows what takes two of one user."""
        train = self.set_of([(1, 1, 1.0, 4.0), (2, 3, 1.0, 4.0)])
        with pytest.raises(DataError, match="two positives, one after the other"):
            self.fitted(train)


class TestGru4Rec(_InTurn):
    name = "gru4rec"
    params: ClassVar[dict[str, Any]] = {**_SEQUENCES, "hidden": 16}
    misspelt = ("cel", "cell")


class TestSasRec(_InTurn):
    name = "sasrec"
    params: ClassVar[dict[str, Any]] = _SEQUENCES
    misspelt = ("head", "heads")


class TestContent(ModelContract):
    name = "content"
    misspelt = ("category", "categories")


class TestBlend(ModelContract):
    name = "blend"
    params: ClassVar[dict[str, Any]] = {
        "models": {"ease": {}, "ials": {"embedding_dim": 8}, "item_knn": {"shrinkage": 0.0}}
    }
    misspelt = ("model", "models")


class TestBlendOfRanks(TestBlend):
    params: ClassVar[dict[str, Any]] = {**TestBlend.params, "scale": "rank"}


class TestBlendOfRatings(TestBlend):
    feedback = "explicit"
    params: ClassVar[dict[str, Any]] = {
        "models": {"mf": {**TestMfRatings.params, "epochs": 3}, "item_knn": {"shrinkage": 0.0}}
    }


class TestTwoTower(ModelContract):
    name = "two_tower"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "l2": 0.01}
    misspelt = ("id_drop_out", "id_dropout")


@pytest.mark.parametrize("name", sorted(set(REGISTRY) - {"popular", "mf", "ncf", "blend"}))
def test_ratings_without_a_positive_are_nothing_to_learn_from(name: str) -> None:
    log = log_of([(user, item, float(item), 2.0) for user in range(3) for item in range(3)])
    log = replace(log, item_features=colours(log))
    feedback = FeedbackSettings(kind="explicit", positive_at=3.0)
    train = training_set(log, every(log), 10**15, feedback)
    with pytest.raises(DataError, match="nothing to learn from"):
        models.make(name, {}, seed=1, threads=2).fit(train)


def test_every_model_is_under_the_contract() -> None:
    tested = [
        cls for cls in globals().values() if isinstance(cls, type) and hasattr(cls, "misspelt")
    ]
    assert {cls.name for cls in tested} == set(REGISTRY)
