"""Every model of the registry under the contract."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from contracts import ModelContract
from recjobs.dataset import TrainingSet
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


class TestTwoTower(ModelContract):
    name = "two_tower"
    params: ClassVar[dict[str, Any]] = {**_FACTORS, "l2": 0.01}
    misspelt = ("id_drop_out", "id_dropout")


def test_every_model_is_under_the_contract() -> None:
    tested = [
        cls for cls in globals().values() if isinstance(cls, type) and hasattr(cls, "misspelt")
    ]
    assert {cls.name for cls in tested} == set(REGISTRY)
