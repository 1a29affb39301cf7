"""What `mf` on implicit feedback starts from."""

from __future__ import annotations

from typing import Any

import numpy as np

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import TrainingSet, training_set
from recjobs.models.mf import MatrixFactorization
from recjobs.models.warm import Start

AS_OF = 400 * 86_400_000_000
Row = tuple[int, int, float]


def camps(users: int = 40) -> list[Row]:
    """Users of two camps and some of the items of their own."""
    rng = np.random.default_rng(2)
    liked = rng.random((users, 30)) < 0.5
    return [(u, i, 1.0) for u in range(users) for i in range(u % 2, 30, 2) if liked[u, i]]


def set_of(rows: list[Row]) -> TrainingSet:
    log = log_of(rows)
    return training_set(log, every(log), AS_OF, FeedbackSettings())


def untrained(
    train: TrainingSet, parent: Start | None = None, **params: Any
) -> MatrixFactorization:
    chosen = {"embedding_dim": 8, "learning_rate": 1e-12, **params}
    model = models.make("mf", chosen, seed=1, threads=2)
    assert isinstance(model, MatrixFactorization)
    model.start = parent
    model.fit(train, epochs=1)
    return model


def test_users_and_items_start_from_numbers_of_their_own() -> None:
    users, items = (rows[:, :8] for rows in untrained(set_of(camps())).factors())
    both = min(len(users), len(items))
    own = (users[:both] * items[:both]).sum(axis=1)
    assert abs(own.mean()) < 0.02  # 8 x 0.01, where both were drawn alike


def test_a_warm_spectral_start_brings_new_users_into_the_parents_basis() -> None:
    before = camps()
    first = set_of(before)
    params = {"start": "spectral", "l2_per": "vector", "recency_days": []}
    parent = untrained(first, **params)
    rng = np.random.default_rng(4)
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0].astype(np.float32)
    parent._users[:, :8] = parent._users[:, :8] @ turn  # the same scores
    parent._items[:, :8] = parent._items[:, :8] @ turn
    twin = [(100, item, at) for user, item, at in before if user == 0]
    now = set_of(before + twin)
    start = Start.of(parent, first.users, first.items, now, kept=0.5)
    users, items = (rows[:, :8] for rows in untrained(now, start, **params).factors())
    scores = users @ items.T
    theirs = parent._users[:, :8] @ parent._items[:, :8].T
    np.testing.assert_allclose(scores[:-1], theirs, atol=1e-4)
    assert np.corrcoef(scores[0], scores[-1])[0, 1] > 0.9
