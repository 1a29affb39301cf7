"""X'X, counted in bits or summed up, against scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from recjobs.dataset import Float32Array, Int32Array
from recjobs.models import gram, gram_kernels
from recjobs.models.bit_counts import COLUMNS, GROUP, GROUPS


def random(n_users: int, n_items: int) -> sparse.csr_matrix:
    """Every item is as popular as any other."""
    rng = np.random.default_rng(1)
    return matrix_of(rng.random((n_users, n_items)) < 0.2)


def skewed(n_users: int, n_items: int) -> sparse.csr_matrix:
    """Few items have nearly all users, most have few; some have none."""
    rng = np.random.default_rng(2)
    share = 0.95 * np.exp(-8 * rng.permutation(n_items) / n_items)
    share[:2] = 0
    return matrix_of(rng.random((n_users, n_items)) < share)


def matrix_of(has: np.ndarray) -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(has.astype(np.float32))
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


def rows_of(matrix: sparse.csr_matrix, threads: int = 2) -> Float32Array:
    """Every row, each of which is given once."""
    n_items = matrix.shape[1]
    found = np.full((n_items, n_items), np.nan, dtype=np.float32)

    def take(items: Int32Array, block: Float32Array) -> None:
        assert np.isnan(found[items]).all()
        found[items] = block

    gram.each_gram_rows(matrix, take, threads)
    return found


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("make", [random, skewed])
def test_rows_are_those_of_scipy(make: Callable[..., sparse.csr_matrix], threads: int) -> None:
    matrix = make(5000, 1100)
    panels, others = gram.counted_and_summed(matrix)
    assert panels
    assert bool(len(others)) == (make is skewed)
    np.testing.assert_array_equal(rows_of(matrix, threads), (matrix.T @ matrix).toarray())


@pytest.mark.parametrize("n_users", [1, GROUP - 1, GROUP, GROUPS * GROUP + 1, 9000])
def test_any_number_of_users_is_counted(n_users: int) -> None:
    has = np.ones((n_users, 40), dtype=np.bool_)
    has[:, ::3] = np.random.default_rng(3).random((n_users, 14)) < 0.5
    matrix = matrix_of(has)
    by_item = matrix.tocsc()
    found = np.empty((40, 40), dtype=np.float32)

    def take(items: Int32Array, block: Float32Array) -> None:
        found[items] = block

    panels = [np.arange(40, dtype=np.int32)]
    gram._count(by_item, panels, take, 1, lambda done, note="": None)
    np.testing.assert_array_equal(found, (matrix.T @ matrix).toarray())


def test_weights_are_summed_up() -> None:
    matrix = skewed(300, 700)
    matrix.data = np.random.default_rng(4).random(matrix.nnz).astype(np.float32)
    panels, others = gram.counted_and_summed(matrix)
    assert not panels
    np.testing.assert_array_equal(others, np.arange(700))
    np.testing.assert_allclose(rows_of(matrix), (matrix.T @ matrix).toarray(), rtol=1e-5)


def test_nothing_is_no_error() -> None:
    assert rows_of(matrix_of(np.zeros((3, 0), dtype=np.bool_))).shape == (0, 0)
    assert (rows_of(matrix_of(np.zeros((3, 5), dtype=np.bool_))) == 0).all()


def test_popular_items_cost_a_line_for_each_of_their_users() -> None:
    matrix = skewed(5000, 2 * COLUMNS)
    panels, others = gram.counted_and_summed(matrix)
    each = np.zeros(2 * COLUMNS, dtype=np.int64)
    gram_kernels.additions(matrix.indptr, matrix.indices, each)
    assert each.sum() == (matrix.T @ matrix).sum(dtype=np.float64)
    lines = len(panels) * matrix.nnz
    assert lines + each[others].sum() < each.sum() / 20
    # What is left is what users have of the least popular, and each item is in one of both.
    assert each[others].max() <= min(each[panel].min() for panel in panels)
    np.testing.assert_array_equal(np.sort(np.concatenate([*panels, others])), np.arange(1024))


def test_few_users_are_not_worth_bits() -> None:
    assert gram.counted_and_summed(random(20, 1000))[0] == []


def test_a_thread_holds_no_more_values_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = random(5000, 1100)
    monkeypatch.setattr(gram, "_COUNTED", 100 * 1100)
    panels, _ = gram.counted_and_summed(matrix)
    assert {len(panel) for panel in panels} == {100}
    np.testing.assert_array_equal(rows_of(matrix), (matrix.T @ matrix).toarray())


def test_the_nearest_are_a_full_sorts_ties_by_item() -> None:
    matrix = skewed(5000, 1100)
    assert gram.counted_and_summed(matrix)[0]
    length = np.sqrt(np.asarray(matrix.sum(axis=0)).ravel()).astype(np.float32)
    product = (matrix.T @ matrix).toarray()
    denominator = length[:, None] * length + (np.float32(20) + np.float32(1e-12))
    cosine = np.where(product > 0, product / denominator, -np.inf).astype(np.float32)
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :30]
    expected = np.take_along_axis(cosine, order, axis=1)
    for threads in (1, 3):
        near, score = gram.nearest(matrix, 30, 20.0, threads, lambda done, note="": None)
        np.testing.assert_array_equal(score, expected)
        np.testing.assert_array_equal(near, np.where(expected > -np.inf, order, -1))
