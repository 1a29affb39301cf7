"""Metrics against a plain oracle, user by user, and against scikit-learn's."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, ndcg_score, root_mean_squared_error

from recjobs import metrics
from recjobs.metrics import Bootstrap, Interval

N_ITEMS = 12
#: One user: the list, best first, and the relevant items.
Case = tuple[list[int], set[int]]

lists = st.lists(st.integers(0, N_ITEMS - 1), unique=True, max_size=8)
cases = st.lists(
    st.tuples(lists, st.sets(st.integers(0, N_ITEMS - 1), min_size=1, max_size=6)),
    min_size=1,
    max_size=6,
)
cutoffs = st.integers(1, 10)


def arrays(given_cases: list[Case], width: int = 8) -> tuple[Any, Any, Any]:
    """Return the lists padded with -1, the hits, and the number of relevant items."""
    recommended = np.full((len(given_cases), width), -1, dtype=np.int32)
    for row, (items, _) in zip(recommended, given_cases, strict=True):
        row[: len(items)] = items
    n_relevant = np.array([len(relevant) for _, relevant in given_cases], dtype=np.int64)
    indptr = np.concatenate([[0], np.cumsum(n_relevant)])
    flat = [item for _, relevant in given_cases for item in sorted(relevant)]
    hit = metrics.hits(recommended, indptr, np.array(flat, dtype=np.int32))
    return recommended, hit, n_relevant


# The oracle: the definitions, one user at a time.


def plain_ndcg(items: list[int], relevant: set[int], k: int) -> float:
    gained = sum(1 / math.log2(rank + 2) for rank, i in enumerate(items[:k]) if i in relevant)
    return gained / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))


def plain_recall(items: list[int], relevant: set[int], k: int) -> float:
    return len(set(items[:k]) & relevant) / len(relevant)


def plain_hit(items: list[int], relevant: set[int], k: int) -> float:
    return float(bool(set(items[:k]) & relevant))


def plain_mrr(items: list[int], relevant: set[int]) -> float:
    return next((1 / (rank + 1) for rank, i in enumerate(items) if i in relevant), 0.0)


@settings(max_examples=200)
@given(cases, cutoffs)
def test_accuracy_is_the_plain_one(given_cases: list[Case], k: int) -> None:
    _, hit, n_relevant = arrays(given_cases)
    found = {
        "hits": hit[:, :8].tolist(),
        "ndcg": metrics.ndcg(hit, n_relevant, k),
        "recall": metrics.recall(hit, n_relevant, k),
        "hit": metrics.hit_rate(hit, k),
        "mrr": metrics.mrr(hit),
    }
    for user, (items, relevant) in enumerate(given_cases):
        padded = [i in relevant for i in items] + [False] * (8 - len(items))
        assert found["hits"][user] == padded
        assert found["ndcg"][user] == pytest.approx(plain_ndcg(items, relevant, k))
        assert found["recall"][user] == plain_recall(items, relevant, k)
        assert found["hit"][user] == plain_hit(items, relevant, k)
        assert found["mrr"][user] == plain_mrr(items, relevant)
    for name in ("ndcg", "recall", "hit", "mrr"):
        assert found[name].dtype == np.float64
        assert found[name].shape == (len(given_cases),)


@settings(max_examples=100)
@given(st.permutations(range(N_ITEMS)), st.sets(st.integers(0, N_ITEMS - 1), min_size=1), cutoffs)
def test_ndcg_is_scikit_learns(order: list[int], relevant: set[int], k: int) -> None:
    _, hit, n_relevant = arrays([(order, relevant)], width=N_ITEMS)
    scores = np.empty((1, N_ITEMS))
    scores[0, order] = np.arange(N_ITEMS, 0, -1)
    truth = np.array([[float(i in relevant) for i in range(N_ITEMS)]])
    assert metrics.ndcg(hit, n_relevant, k)[0] == pytest.approx(ndcg_score(truth, scores, k=k))


def test_an_ideal_list_is_one_and_the_order_counts() -> None:
    _, hit, n_relevant = arrays([([1, 2, 3], {1, 2}), ([3, 2, 1], {1, 2}), ([3], {1, 2})])
    best, worse, none = metrics.ndcg(hit, n_relevant, 10)
    assert best == 1.0
    assert 0 < worse < 1
    assert none == 0.0


def test_unknown_held_out_items_stay_in_the_denominator() -> None:
    # Item 11 is in no list: it can only be missed.
    _, hit, n_relevant = arrays([([1], {1}), ([1], {1, 11})])
    assert metrics.recall(hit, n_relevant, 10).tolist() == [1.0, 0.5]
    assert metrics.ndcg(hit, n_relevant, 10)[1] < 1


def test_without_lists_or_relevant_items() -> None:
    empty = np.empty((0, 5), dtype=np.int32)
    nothing = np.zeros(0, dtype=np.int32)
    assert metrics.hits(empty, np.zeros(1, dtype=np.int64), nothing).shape == (0, 5)
    _, hit, _ = arrays([([1], {1})])
    none = np.zeros(1, dtype=np.int64)
    assert metrics.ndcg(hit, none, 10).tolist() == [0.0]
    assert metrics.recall(hit, none, 10).tolist() == [0.0]
    narrow = np.zeros((2, 0), dtype=np.bool_)
    assert metrics.mrr(narrow).tolist() == [0.0, 0.0]
    assert metrics.ndcg(narrow, np.array([1, 2]), 10).tolist() == [0.0, 0.0]


@given(cases, st.sets(st.integers(0, N_ITEMS - 1)))
def test_exposure_is_the_plain_one(given_cases: list[Case], allowed: set[int]) -> None:
    kept = [([i for i in items if i in allowed], relevant) for items, relevant in given_cases]
    recommended, _, _ = arrays(kept)
    candidates = np.array([i in allowed for i in range(N_ITEMS)], dtype=np.bool_)
    counts = [sum(i in items for items, _ in kept) for i in sorted(allowed)]
    exposed = metrics.exposure(recommended, candidates)
    assert exposed.tolist() == counts
    shown = [count for count in counts if count]
    assert metrics.coverage(exposed) == pytest.approx(len(shown) / max(len(counts), 1))
    # Gini as half the mean absolute difference over the mean.
    total = sum(counts)
    apart = sum(abs(a - b) for a, b in itertools.product(counts, counts))
    expected = apart / (2 * len(counts) * total) if total else 0.0
    assert metrics.gini(exposed) == pytest.approx(expected)


def test_gini_at_its_ends() -> None:
    assert metrics.gini(np.array([3, 3, 3, 3])) == 0.0
    assert metrics.gini(np.array([0, 0, 0, 9])) == 0.75  # 1 - 1/n
    assert metrics.gini(np.zeros(3, dtype=np.int64)) == 0.0
    assert metrics.gini(np.zeros(0, dtype=np.int64)) == 0.0


@given(cases)
def test_mean_popularity_is_the_plain_one(given_cases: list[Case]) -> None:
    recommended, _, _ = arrays(given_cases)
    popularity = np.linspace(0, 1, N_ITEMS) ** 2
    found = metrics.mean_popularity(recommended, popularity)
    for user, (items, _) in enumerate(given_cases):
        expected = sum(popularity[i] for i in items) / len(items) if items else 0.0
        assert found[user] == pytest.approx(expected)


ratings = st.lists(
    st.tuples(st.integers(0, 4), st.floats(1, 5), st.floats(1, 5)), min_size=1, max_size=30
)


@given(ratings)
def test_errors_are_scikit_learns(table: list[tuple[int, float, float]]) -> None:
    owner, predicted, truth = (np.array(column) for column in zip(*table, strict=True))
    rmse, mae = metrics.error_intervals(predicted - truth, owner, Bootstrap(draws=100))
    assert rmse.value == pytest.approx(root_mean_squared_error(truth, predicted))
    assert mae.value == pytest.approx(mean_absolute_error(truth, predicted))
    for found in (rmse, mae):
        assert found.low <= found.high


# The bootstrap.


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 9))
def test_draws_are_of_users_and_as_many_as_there_are(n_users: int, seed: int) -> None:
    """A column of ones sums to the number of users in each draw; a column per user: its count."""
    values = np.column_stack([np.ones(n_users), np.eye(n_users)])
    sums = metrics.resample(values, Bootstrap(draws=100, seed=seed))
    assert (sums[:, 0] == n_users).all()
    counts = sums[:, 1:]
    assert (counts == counts.round()).all()
    assert (counts >= 0).all()
    assert (counts.sum(axis=1) == n_users).all()
    if n_users > 5:
        assert counts.max() > 1  # with replacement
        assert (counts == 0).any()
        assert len(np.unique(counts, axis=0)) > 50  # not one draw a hundred times


def test_a_draw_picks_each_user_once_in_the_mean() -> None:
    counts = metrics.resample(np.eye(50), Bootstrap(draws=4000))
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.1)
    np.testing.assert_allclose(counts.var(axis=0), 1 - 1 / 50, atol=0.15)  # binomial(50, 1/50)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).random((70, 3))
    whole = metrics.resample(values, Bootstrap(draws=100))
    monkeypatch.setattr(metrics, "_BLOCK", 70 * 7)
    np.testing.assert_allclose(metrics.resample(values, Bootstrap(draws=100)), whole)


def test_the_seed_decides_and_the_columns_dont() -> None:
    values = np.random.default_rng(1).random((30, 2))
    one = metrics.mean_interval(values, Bootstrap(seed=1))
    assert one == metrics.mean_interval(values, Bootstrap(seed=1))
    assert one != metrics.mean_interval(values, Bootstrap(seed=2))
    alone = metrics.mean_interval(values[:, 1:], Bootstrap(seed=1))[0]
    assert (alone.low, alone.high) == pytest.approx((one[1].low, one[1].high))


def test_the_interval_is_of_the_mean() -> None:
    """For many users it is the normal one: mean ± 1.96 standard errors; narrower at 80%."""
    values = np.random.default_rng(2).normal(5, 2, (2000, 1))
    error = values.std() / math.sqrt(2000)
    found = metrics.mean_interval(values, Bootstrap(draws=4000))[0]
    assert found.value == values.mean()
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)
    narrow = metrics.mean_interval(values, Bootstrap(draws=4000, confidence=0.8))[0]
    assert narrow.high - narrow.low == pytest.approx(2 * 1.2816 * error, rel=0.08)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(200):
        values = rng.binomial(1, 0.3, (150, 1)).astype(np.float64)
        found = metrics.mean_interval(values, Bootstrap(draws=300, confidence=0.9, seed=seed))[0]
        held += found.low <= 0.3 <= found.high
    assert 0.83 <= held / 200 <= 0.96


def test_a_paired_difference_sees_what_two_intervals_do_not() -> None:
    """Users differ far more than models do: only pairing them shows the small, sure gain."""
    rng = np.random.default_rng(4)
    theirs = rng.random((400, 1))
    ours = theirs + 0.01 + rng.normal(0, 0.02, (400, 1))
    found = metrics.mean_interval(ours - theirs, Bootstrap())[0]
    assert found.value == pytest.approx(0.01, abs=0.003)
    assert found.low > 0
    alone = [metrics.mean_interval(values, Bootstrap())[0] for values in (ours, theirs)]
    assert alone[0].low < alone[1].high
    turned = metrics.mean_interval(theirs - ours, Bootstrap())[0]
    expected = Interval(-found.value, -found.high, -found.low)
    assert (turned.value, turned.low, turned.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )


def test_equal_models_do_not_differ() -> None:
    values = np.random.default_rng(6).random((50, 4))
    assert set(metrics.mean_interval(values - values, Bootstrap())) == {Interval(0, 0, 0)}


def test_one_user_has_no_width() -> None:
    found = metrics.mean_interval(np.array([[0.4]]), Bootstrap())[0]
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4, 0.4))


def test_an_interval_of_errors_is_over_users() -> None:
    """One user with many bad pairs: pairs are many, users few, so the interval is wide."""
    error = np.concatenate([np.full(900, 2.0), np.full(100, 0.1)])
    owner = np.concatenate([np.zeros(900, dtype=np.int64), np.arange(1, 101)])
    rmse, mae = metrics.error_intervals(error, owner, Bootstrap())
    assert rmse.low < 0.15 < 1.8 < rmse.high
    assert mae.low < 0.15 < 1.8 < mae.high
