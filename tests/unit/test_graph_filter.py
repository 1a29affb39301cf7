"""The graph filter against dense linear algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models import graph_filter
from recjobs.models.base import strengths
from recjobs.models.gram import sparse_gram
from recjobs.models.graph_filter import GraphFilter


def some_set(n_users: int, n_items: int) -> TrainingSet:
    rng = np.random.default_rng(4)
    rows = [
        (user, item, float(day), None, "buy")
        for user in range(n_users)
        for item in range(n_items)
        for day in range(rng.integers(0, 4) - 1)
    ]
    log = log_of(rows, users=[n_users], items=[n_items])
    return training_set(log, every(log), 10**15, FeedbackSettings(event_weights={"buy": 1.0}))


def fitted(train: TrainingSet, **params: Any) -> GraphFilter:
    model = models.make("graph_filter", params, seed=1, threads=2)
    model.fit(train)
    assert isinstance(model, GraphFilter)
    return model


def dense_filter(x: np.ndarray, dim: int, weight: float) -> np.ndarray:
    """W of score(u) = x_u W, over items that occur."""
    of_user, of_item = x.sum(axis=1), x.sum(axis=0)
    normal = x / np.sqrt(of_user[:, None] * of_item)
    right = np.linalg.svd(normal)[2][:dim]
    ideal = right.T @ right * np.sqrt(of_item) / np.sqrt(of_item)[:, None]
    return np.asarray(normal.T @ normal + weight * ideal)


@pytest.mark.parametrize(("n_users", "n_items"), [(30, 12), (9, 14)])
def test_scores_are_those_of_the_dense_filter(n_users: int, n_items: int) -> None:
    train = some_set(n_users, n_items)
    model = fitted(train, embedding_dim=4, ideal_weight=0.7)
    x = strengths(train).toarray().astype(np.float64)[:n_users, :n_items]
    scores = model.score_block(np.arange(n_users + 1, dtype=np.int32))
    np.testing.assert_allclose(
        scores[:-1, :n_items], x @ dense_filter(x, 4, 0.7), rtol=1e-4, atol=1e-5
    )
    assert (scores[:, -1] == -np.inf).all()  # nothing is known of this item


def test_random_singular_vectors_come_close(monkeypatch: pytest.MonkeyPatch) -> None:
    train = some_set(60, 40)
    exact = fitted(train, embedding_dim=5)
    monkeypatch.setattr(graph_filter, "_EXACT", 10)
    users = np.arange(60, dtype=np.int32)
    np.testing.assert_allclose(
        fitted(train, embedding_dim=5).score_block(users)[:, :40],
        exact.score_block(users)[:, :40],
        rtol=1e-3,
    )


def test_because_is_the_greatest_contribution() -> None:
    train = some_set(30, 12)
    model = fitted(train, embedding_dim=4)
    x = strengths(train).toarray().astype(np.float64)[:30, :12]
    w = dense_filter(x, 4, 0.3)
    users = np.arange(30, dtype=np.int32)
    lists = np.tile(np.arange(12, dtype=np.int32), (30, 1))
    because = model.relation().because(lists, users, SeenItems(train.indptr, train.item_idx))
    for user in users:
        for item in range(12):
            share = x[user] * w[:, item]
            share[item] = 0
            assert because[user, item] == (share.argmax() if share.max() > 0 else -1)


def test_sparse_gram_is_the_gram() -> None:
    x = sparse.random(300, 150, density=0.02, format="csr", dtype=np.float32, random_state=1)
    x.indptr = x.indptr.astype(np.int64)
    gram = sparse_gram(x, 2)
    np.testing.assert_allclose(gram.toarray(), (x.T @ x).toarray(), rtol=1e-5)
    assert gram.has_sorted_indices
    assert gram.data.all()


def test_refuses_co_occurrences_that_do_not_fit() -> None:
    history = sparse.csr_matrix(np.ones((3, 1000), dtype=np.float32))
    graph_filter.require_memory(history, 2**30)
    with pytest.raises(ConfigError, match=r"1,000,000 pairs .* Choose ials or elsa\.$"):
        graph_filter.require_memory(history, 2**20)


def joined(*blocks: tuple[int, int], mixed: bool = False) -> TrainingSet:
    """Blocks of users and items that nothing joins; all users of a block like its first item.

    Mixed, the ids of the items are in no order.
    """
    rng = np.random.default_rng(9)
    rows, user, item = [], 0, 0
    for n_users, n_items in blocks:
        has = rng.random((n_users, n_items)) < 0.5
        has[:, 0] = has[0] = True
        rows += [(user + u, item + i, 1.0) for u, i in np.argwhere(has).tolist()]
        user, item = user + n_users, item + n_items
    if mixed:
        order = rng.permutation(item).tolist()
        rows = [(user, order[item], day) for user, item, day in rows]
    log = log_of(rows)
    return training_set(log, every(log), 10**15, FeedbackSettings())


@pytest.mark.parametrize("exact", [True, False])
def test_users_whom_nothing_joins_to_others_take_no_dimension(
    monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(graph_filter, "_EXACT", 3)
    alone, beside = joined((40, 15)), joined((40, 15), *[(1, 2)] * 10)
    users = np.arange(50, dtype=np.int32)
    expected = fitted(alone, embedding_dim=6).score_block(users[:40])
    scores = fitted(beside, embedding_dim=6).score_block(users)
    np.testing.assert_allclose(scores[:40, :15], expected, rtol=1e-4)
    assert np.isneginf(scores[:40, 15:]).all()
    # Nothing speaks for what they don't have themselves: the fallback's to recommend.
    own = np.repeat(np.eye(10, dtype=np.bool_), 2, axis=1)
    assert np.isneginf(scores[40:, :15]).all()
    np.testing.assert_array_equal(np.isfinite(scores[40:, 15:]), own)


@pytest.mark.parametrize("exact", [True, False])
def test_large_parts_have_no_say_in_each_other(
    monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(graph_filter, "_EXACT", 3)
    train = joined((200, 80), (100, 40), (1, 10), mixed=True)
    scores = fitted(train).score_block(np.arange(301, dtype=np.int32))
    alone = train.item_idx[train.indptr[300] : train.indptr[301]]
    assert np.flatnonzero(np.isfinite(scores[300])).tolist() == alone.tolist()
    first, second = (np.isfinite(rows).any(axis=0) for rows in (scores[:200], scores[200:300]))
    assert not (first & second).any()
    assert (first | second).sum() == 120


def test_every_large_part_has_dimensions() -> None:
    train = joined((40, 15), (30, 12), (1, 2))
    first, second = graph_filter.large_parts(train.positives(), 6)
    assert first[0].tolist() == [True] * 40 + [False] * 31
    assert second[1].tolist() == [False] * 15 + [True] * 12 + [False] * 2
    vectors = fitted(train, embedding_dim=6).relation().targets
    assert vectors[:15].any()
    assert vectors[15:27].any()
    assert not vectors[27:].any()
    # Of none that is worth a dimension, the largest have some all the same.
    parts = graph_filter.large_parts(joined(*[(2, 1)] * 5, (1, 1)).positives(), 2)
    assert np.logical_or.reduce([users for users, _ in parts]).tolist() == [True] * 10 + [False]
