"""EASE against dense linear algebra, and its memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models import ease
from recjobs.models.base import strengths
from recjobs.models.ease import Ease


def some_set(n_users: int, n_items: int, most: int = 4) -> TrainingSet:
    rng = np.random.default_rng(5)
    rows = [
        (user, int(item), float(day), None, "buy")
        for user in range(n_users)
        for item in rng.choice(n_items, size=min(n_items, 30), replace=False)
        for day in range(rng.integers(1, most))
    ]
    log = log_of(rows, users=[n_users], items=[n_items])
    return training_set(log, every(log), 10**15, FeedbackSettings(event_weights={"buy": 1.0}))


def fitted(train: TrainingSet, **params: float) -> Ease:
    model = models.make("ease", params, seed=1, threads=2)
    model.fit(train)
    assert isinstance(model, Ease)
    return model


def dense_weights(x: np.ndarray, l2: float) -> np.ndarray:
    inverse = np.linalg.inv(x.T @ x + l2 * np.eye(x.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return np.asarray(weights)


def test_scores_are_those_of_the_closed_form() -> None:
    train = some_set(150, 60)
    model = fitted(train, l2=20.0)
    x = strengths(train).toarray().astype(np.float64)[:, :60]
    scores = model.score_block(np.arange(151, dtype=np.int32))
    expected = (x @ dense_weights(x, 20.0))[:150]
    np.testing.assert_allclose(scores[:150, :60], expected, rtol=1e-3, atol=1e-4)
    assert (scores[:, 60] == -np.inf).all()  # nothing is known of this item,
    assert (scores[150] == -np.inf).all()  # nor of this user


@pytest.mark.parametrize("block", [7, 16, 59, 60])
def test_a_large_matrix_is_inverted_block_by_block(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    train = some_set(150, 60)
    whole = fitted(train, l2=20.0).relation()
    monkeypatch.setattr(ease, "_LAPACK", 0)
    monkeypatch.setattr(ease, "_BLOCK", block)
    swept = fitted(train, l2=20.0).relation()
    np.testing.assert_allclose(swept.weights, whole.weights, rtol=1e-4, atol=1e-6)


def test_because_is_the_greatest_contribution() -> None:
    train = some_set(150, 60)
    x = strengths(train).toarray().astype(np.float64)[:, :60]
    weights = dense_weights(x, 20.0)
    users = np.arange(150, dtype=np.int32)
    lists = np.tile(np.array([0, 7, 31], dtype=np.int32), (150, 1))
    history = SeenItems(train.indptr, train.item_idx)
    because = fitted(train, l2=20.0).relation().because(lists, users, history)
    for place, item in enumerate([0, 7, 31]):
        share = x[:150] * weights[:, item]
        share[x[:150] == 0] = -np.inf
        share[:, item] = -np.inf
        np.testing.assert_array_equal(because[:, place], share.argmax(axis=1))


def test_the_default_l2_is_a_hundredth_of_what_a_row_of_the_gram_matrix_sums_to() -> None:
    for most in (2, 6):  # each once, and several times
        x = strengths(some_set(150, 60, most))[:, :60]
        gram = (x.T @ x).toarray().astype(np.float64)
        assert ease.default_l2(x) == pytest.approx(gram.sum(axis=1).mean() / 100, rel=1e-5)


def test_memory_peaks_at_one_and_a_half_matrices() -> None:
    train = some_set(400, 3000, most=2)
    fitted(some_set(30, 10))  # everything is imported and compiled
    model = models.make("ease", {}, seed=1, threads=2)
    tracemalloc.start()
    try:
        model.fit(train)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.5 * int(model.known_items.sum()) ** 2 * 4


def test_refuses_a_catalogue_that_does_not_fit() -> None:
    ease.require_memory(10_000, 2**30)
    with pytest.raises(ConfigError, match=r"40,981 items need 9\.4 GiB .* 8\.0 GiB .* kin\.$"):
        ease.require_memory(40_981, 8 * 2**30)


def test_what_nothing_in_a_history_speaks_for_is_left_to_the_fallback() -> None:
    rows = [(user, item, 1.0) for user in range(8) for item in range(3) if user % 3 != item]
    train = training_set(
        log := log_of([*rows, (50, 90, 1.0), (50, 91, 1.0)]), every(log), 10**15, FeedbackSettings()
    )
    model = fitted(train)
    scores = model.score_block(np.arange(train.n_users, dtype=np.int32))
    # Nobody else likes what the last user likes.
    assert np.isneginf(scores[-1, :3]).all()
    assert np.isfinite(scores[-1, 3:]).all()
    assert np.isneginf(scores[:-1, 3:]).all()
    assert np.isfinite(scores[:-1, :3]).all()
    nobody, some = np.int32([[0, 1]]), np.int32([[3, 4]])
    user, history = np.int32([train.n_users - 1]), SeenItems(train.indptr, train.item_idx)
    because = model.relation().because
    assert because(nobody, user, history).tolist() == [[-1, -1]]
    assert because(some, user, history).tolist() == [[4, 3]]
