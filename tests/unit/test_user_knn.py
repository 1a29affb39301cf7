"""User-based neighbours against dense linear algebra."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from logs import every, log_of
from recjobs import models
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.models.base import strengths
from recjobs.models.user_knn import UserKnn


def some_set() -> TrainingSet:
    rng = np.random.default_rng(6)
    rows = [
        (user, item, day, None, "buy")
        for user in range(80)
        for item in range(15)
        for day in rng.uniform(0, 9, size=rng.integers(0, 2))
    ]
    log = log_of(rows, users=[99], items=[99])
    # Decayed weights, so that no two users are equally near.
    feedback = FeedbackSettings(event_weights={"buy": 1.0}, half_life_days=5.0)
    return training_set(log, every(log), 10 * DAY, feedback)


def fitted(train: TrainingSet, **params: Any) -> UserKnn:
    model = models.make("user_knn", params, seed=1, threads=2)
    model.fit(train)
    assert isinstance(model, UserKnn)
    return model


def dense(x: np.ndarray, neighbours: int, shrinkage: float) -> np.ndarray:
    """Likeness of users, 0 but for the nearest neighbours."""
    length = np.linalg.norm(x, axis=1)
    likeness = x @ x.T / (np.outer(length, length) + shrinkage + 1e-12)
    np.fill_diagonal(likeness, 0)
    cut = np.sort(likeness, axis=1)[:, -neighbours][:, None]
    return np.asarray(np.where(likeness >= cut, likeness, 0))


def test_scores_are_sums_over_the_nearest_users() -> None:
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    scores = fitted(train, neighbours=7, shrinkage=3.0).score_block(np.arange(81, dtype=np.int32))
    expected = dense(x, 7, 3.0) @ x
    np.testing.assert_allclose(np.where(scores > -np.inf, scores, 0), expected, rtol=1e-4)
    assert (scores[-1] == -np.inf).all()  # of a user without history nothing is known


def test_because_is_the_item_that_made_the_most_of_the_score() -> None:
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    likeness = dense(x, 7, 3.0)
    length = np.linalg.norm(x, axis=1)
    users = np.arange(80, dtype=np.int32)
    lists = np.tile(np.array([0, 4, 9], dtype=np.int32), (80, 1))
    relation = fitted(train, neighbours=7, shrinkage=3.0).relation()
    because = relation.because(lists, users, SeenItems(train.indptr, train.item_idx))
    for user in users:
        say = np.where(likeness[user] > 0, 1 / (length[user] * length + 3.0), 0)
        for place, item in enumerate([0, 4, 9]):
            credit = x[user] * ((say * x[:, item]) @ x)
            credit[item] = 0
            expected = credit.argmax() if credit.max() > 0 else -1
            found = because[user, place]
            assert found == expected or np.isclose(credit[found], credit.max(), rtol=1e-5)


def test_similar_items_have_the_same_users() -> None:
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    relation = fitted(train, shrinkage=3.0).relation()
    items = np.array([2, 5, 15], dtype=np.int32)
    similar, likeness = relation.similar(items, train.candidates, 2)
    wanted = dense(x.T, 2, 3.0)[items]
    np.testing.assert_allclose(likeness[:2], -np.sort(-wanted[:2], axis=1)[:, :2], rtol=1e-4)
    assert (similar[2] == -1).all()  # nobody likes it


def test_similar_items_of_item_knn_are_the_items_own_nearest() -> None:
    """Also one that is near to few: what it is near to has others that are nearer."""
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    model = models.make("item_knn", {"neighbours": 3, "shrinkage": 3.0}, seed=1, threads=2)
    model.fit(train)
    relation = model.relation()
    assert relation is not None
    items = np.arange(16, dtype=np.int32)
    similar, likeness = relation.similar(items, train.candidates, 3)
    wanted = dense(x.T, 3, 3.0)
    np.testing.assert_allclose(likeness[:15], -np.sort(-wanted[:15], axis=1)[:, :3], rtol=1e-4)
    np.testing.assert_array_equal(similar[:15], np.argsort(-wanted[:15], axis=1)[:, :3])
    assert (similar[15] == -1).all()  # nobody likes it


@pytest.mark.parametrize("name", ["item_knn", "user_knn"])
def test_without_shrinkage_what_is_long_ago_is_no_error(name: str) -> None:
    rows = [(user, item, day) for user in range(4) for item, day in ((user % 2, 0), (2, 1094))]
    log = log_of(rows)
    feedback = FeedbackSettings(half_life_days=14)  # squares of what is left of 78 are 0
    train = training_set(log, every(log), 1095 * DAY, feedback)
    model = models.make(name, {"shrinkage": 0.0}, seed=1, threads=1)
    model.fit(train)
    assert model.known_items.all()


@pytest.mark.parametrize("name", ["item_knn", "user_knn"])
def test_without_shrinkage_what_is_long_ago_is_as_near_as_ever(name: str) -> None:
    train = some_set()
    weight = train.positive.astype(np.float32)
    now, long_ago = (replace(train, weight=weight * np.float32(w)) for w in (1, 1e-9))
    near = []
    for each in (now, long_ago):
        model = models.make(name, {"shrinkage": 0.0}, seed=1, threads=1)
        model.fit(each)
        cosines = model._likeness if isinstance(model, UserKnn) else model._relation.weights.data  # type: ignore[attr-defined]
        near.append(np.sort(cosines, axis=None))
    np.testing.assert_allclose(near[1], near[0], rtol=1e-4)
