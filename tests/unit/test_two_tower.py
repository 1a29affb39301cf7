"""Two towers: new items and users carried by what is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from contracts import colours
from logs import every, log_of
from recjobs import models
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.featurize import from_table
from recjobs.models.two_tower_inputs import Histories, dense_features, expected_popularity
from recjobs.score import top_n

PARAMS: dict[str, Any] = {
    "embedding_dim": 8, "learning_rate": 0.05, "epochs": 30, "recency_days": [], "l2": 0.01,
}  # fmt: skip
N = 20
NEW = (98, 99)  # white, black


def train_of(*, features: bool = True) -> TrainingSet:
    """Users like items of their own colour; two items are new, two users have said a word alone."""
    rows = [(u, i, float(u)) for u in range(N) for i in range(u % 2, N, 2) if (u + i) % 5]
    log = log_of(rows, users=NEW, items=NEW)
    if features:
        words = pa.table({"user_id": log.users.ids})
        told = [
            "likes black" if user % 2 else "likes white" for user in words["user_id"].to_pylist()
        ]
        words = words.append_column("told", pa.array(told))
        log = replace(log, item_features=colours(log), user_features=from_table(words, log.users))
    log = replace(log, item_created=np.zeros(len(log.items), dtype=np.int64))
    return training_set(log, every(log), 100 * DAY, FeedbackSettings())


def fitted(train: TrainingSet, **params: Any) -> models.FactorModel:
    model = models.make("two_tower", {**PARAMS, **params}, seed=3, threads=2)
    model.fit(train)
    assert isinstance(model, models.FactorModel)
    return model


@pytest.mark.parametrize("negatives", [4, 4096])
def test_new_items_and_new_users_are_carried_by_their_features(negatives: int) -> None:
    train = train_of()
    model = fitted(train, negatives=negatives)
    assert model.known_items.all()
    assert model.known_users.all()
    users, items = model.factors()
    white, black = train.items.encode(pa.array(NEW))
    scores = users @ items.T
    own = np.arange(N) % 2 == 1
    assert ((scores[:N, black] > scores[:N, white]) == own).mean() >= 0.9
    # The users without history like what those do who said the same.
    for user, colour in zip(train.users.encode(pa.array(NEW)), (0, 1), strict=True):
        best = train.items.decode(np.argsort(-scores[user])[:5]).to_pylist()
        assert all(item % 2 == colour for item in best)


def test_new_items_are_on_lists() -> None:
    train = train_of()
    users = np.arange(N, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    (block,) = top_n(fitted(train), train, users, seen, train.candidates, 4, block_users=100)
    listed = train.items.decode(block.item_idx.ravel()).to_pylist()
    assert set(NEW) <= set(listed)


def test_without_features_the_model_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"two_tower needs to know .*Set source.items.text"):
        fitted(train_of(features=False))


def wide_table(words: int) -> pa.Table:
    """Items without a word in common."""
    titles = [" ".join(f"w{item}x{word}" for word in range(words)) for item in range(4)]
    return pa.table({"item_id": range(4), "title": titles})


def test_features_are_reduced_only_where_they_are_many() -> None:
    words = ["a1 b1", "a1 c1", "d1 b1", ""]
    log = log_of([(1, item, 1.0) for item in range(4)])
    features = from_table(pa.table({"item_id": range(4), "title": words}), log.items)
    whole, reduced = (dense_features(features, 4, dim, 1) for dim in (8, 2))
    assert whole.shape == (4, 4)
    assert reduced.shape == (4, 2)
    values = np.linalg.svd(whole, compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.svd(reduced, compute_uv=False), values, rtol=1e-5)
    narrow = dense_features(from_table(wide_table(40), log.items), 4, 8, 1)  # 4 items, dim 8
    assert narrow.shape == (4, 4)
    np.testing.assert_allclose(narrow @ narrow.T, np.eye(4), atol=1e-5)
    assert dense_features(train_of(features=False).log.item_features, 3, 8, 1).shape == (3, 0)


def test_what_nothing_is_known_of_stays_0_when_features_are_reduced() -> None:
    rng = np.random.default_rng(0)
    log = log_of([(0, item, 0.0) for item in range(450)])
    some = rng.random(450) < 0.3
    told = [" ".join(f"w{word}" for word in rng.integers(0, 400, 6)) if s else None for s in some]
    table = pa.table({"item_id": log.items.ids, "told": pa.array(told, pa.string())})
    reduced = dense_features(from_table(table, log.items), 450, 128, 1)
    np.testing.assert_array_equal((reduced != 0).any(axis=1), some)


def test_a_positive_is_never_predicted_from_itself() -> None:
    train = train_of()
    one_hot = np.eye(train.n_items, dtype=np.float32)
    histories = Histories(train, one_hot, None)
    second = np.arange(train.n_items) < 10
    histories.split(second)
    users = np.arange(N, dtype=np.int32)
    for part in (False, True):
        means = histories.from_other_part(users, np.full(N, part))
        assert (means[:, second == part] == 0).all()
        assert (means[:, second != part] > 0).any(axis=1).all()
    whole = histories.projected(one_hot)[:N]
    liked = train.positives().toarray()[:N] > 0
    expected = liked / (liked.sum(axis=1, keepdims=True) + 1)
    np.testing.assert_allclose(whole, expected, rtol=1e-5)


def test_a_new_items_popularity_is_expected_from_its_features() -> None:
    black = np.tile(np.float32([[1, 0], [0, 1]]), (20, 1))
    count = np.where(black[:, 0] > 0, 50, 5)
    count[-2:] = 0  # a new black one, and a new white one
    expected = expected_popularity(black, count, 0.1)
    assert expected[-2] == pytest.approx(np.log(50 / np.sqrt(250)), rel=0.02)
    assert expected[-1] == pytest.approx(-expected[-2], rel=1e-4)
