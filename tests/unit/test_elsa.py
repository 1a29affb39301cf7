"""ELSA against dense linear algebra and finite differences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models.base import strengths
from recjobs.models.elsa import Elsa, loss_gradient


def some_set() -> TrainingSet:
    rng = np.random.default_rng(7)
    rows = [
        (user, item, float(day), None, "buy")
        for user in range(40)
        for item in range(12)
        for day in range(rng.integers(0, 4) - 1)
    ]
    log = log_of(rows, users=[99], items=[99])
    return training_set(log, every(log), 10**15, FeedbackSettings(event_weights={"buy": 1.0}))


def fitted(train: TrainingSet, **params: Any) -> tuple[Elsa, list[float]]:
    model = models.make("elsa", {"embedding_dim": 4, **params}, seed=1, threads=2)
    history = model.fit(train)
    assert isinstance(model, Elsa)
    return model, [epoch.loss for epoch in history.epochs]


def dense_loss(x: np.ndarray, vectors: np.ndarray) -> float:
    y = x @ (vectors @ vectors.T) - x
    error = y / np.linalg.norm(y, axis=1)[:, None] - x / np.linalg.norm(x, axis=1)[:, None]
    return float((error**2).sum(axis=1).mean())


def test_loss_and_gradient_are_those_of_the_dense_scores() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((9, 7)) * (rng.random((9, 7)) < 0.6)
    x[:, 0] += 0.5  # no row is empty
    vectors = rng.standard_normal((7, 3))
    gradient, loss = loss_gradient(
        sparse.csr_matrix(x.astype(np.float32)), vectors.astype(np.float32)
    )
    assert loss == pytest.approx(dense_loss(x, vectors), rel=1e-5)
    for item, d in np.ndindex(7, 3):
        step = np.zeros((7, 3))
        step[item, d] = 1e-5
        slope = (dense_loss(x, vectors + step) - dense_loss(x, vectors - step)) / 2e-5
        assert gradient[item, d] == pytest.approx(slope, rel=1e-3, abs=1e-5)


def test_scores_are_those_of_the_low_rank_matrix() -> None:
    train = some_set()
    model, losses = fitted(train)
    relation = model.relation()
    x = strengths(train).toarray().astype(np.float64)
    vectors = relation.sources[:12].astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    scores = model.score_block(np.arange(41, dtype=np.int32))
    expected = x[:40, :12] @ (vectors @ vectors.T - np.eye(12))
    np.testing.assert_allclose(scores[:40, :12], expected, atol=1e-5)
    assert (scores[:, 12] == -np.inf).all()  # nothing is known of this item,
    assert (scores[40] == -np.inf).all()  # nor of this user
    assert losses[-1] < losses[0]
    assert losses[-1] == pytest.approx(dense_loss(x[:40, :12], vectors), rel=0.01)


def test_because_is_the_greatest_contribution() -> None:
    train = some_set()
    model, _ = fitted(train)
    relation = model.relation()
    x = strengths(train).toarray().astype(np.float64)[:40, :12]
    weights = relation.sources[:12] @ relation.sources[:12].T
    users = np.arange(40, dtype=np.int32)
    lists = np.tile(np.arange(12, dtype=np.int32), (40, 1))
    because = relation.because(lists, users, SeenItems(train.indptr, train.item_idx))
    for user, item in np.ndindex(40, 12):
        share = x[user] * weights[:, item]
        share[item] = 0
        assert because[user, item] == (share.argmax() if share.max() > 0 else -1)


def test_the_learning_rate_keeps_to_what_float32_holds() -> None:
    assert np.isfinite(fitted(some_set(), learning_rate=1e3)[1]).all()
    with pytest.raises(ConfigError, match=r"model\.params\.learning_rate: Input should be less"):
        fitted(some_set(), learning_rate=1e300)


def test_epochs_are_enough_steps_for_the_data() -> None:
    train = some_set()
    assert len(fitted(train)[1]) == 400
    assert len(fitted(train, batch_size=1)[1]) == 10
    assert len(fitted(train, epochs=3)[1]) == 3


def test_what_is_long_ago_is_learned_as_well() -> None:
    train = some_set()
    weight = train.positive.astype(np.float32)
    now, long_ago = (replace(train, weight=weight * np.float32(w)) for w in (1, 1e-9))
    found, expected = (fitted(each, epochs=20)[0].relation() for each in (long_ago, now))
    np.testing.assert_allclose(found.sources, expected.sources, atol=1e-3)
