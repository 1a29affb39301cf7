"""The spectral start of embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from recjobs.models.spectral import spectral_start


def two_camps(n: int = 40) -> sparse.csr_matrix:
    """Users and items of two camps, of which nobody crosses over; the last of both are unknown."""
    rng = np.random.default_rng(0)
    chose = rng.random((n, n)) < 0.4
    chose[: n // 2, n // 2 :] = chose[n // 2 :, : n // 2] = False
    chose[-1] = chose[:, -1] = False
    return sparse.csr_matrix(chose.astype(np.float32))


def test_camps_are_told_apart_and_the_unknown_are_zero() -> None:
    matrix = two_camps()
    users, items = spectral_start(matrix, 4, seed=1, threads=1)
    scores = users @ items.T
    same, other = scores[:20, :20], scores[:20, 20:]
    assert same.mean() > 1
    assert abs(other).max() < 0.1  # what the random projection leaves
    assert not users[-1].any()
    assert not items[-1].any()
    assert users.dtype == items.dtype == np.float32


def test_positives_score_three_on_average_and_both_sides_are_of_one_length() -> None:
    matrix = two_camps()
    users, items = spectral_start(matrix, 4, seed=1, threads=1)
    assert (users @ items.T)[matrix.nonzero()].mean() == pytest.approx(3, abs=1e-3)
    assert np.square(users).mean() == pytest.approx(np.square(items).mean(), rel=1e-4)


def test_repetitions_count_once_and_the_same_seed_gives_the_same() -> None:
    matrix = two_camps()
    found = spectral_start(matrix, 4, seed=1, threads=1)
    again = spectral_start(matrix * 7, 4, seed=1, threads=1)
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one, other)


def test_more_columns_than_the_rank_are_zero() -> None:
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]], dtype=np.float32))
    users, items = spectral_start(matrix, 8, seed=1, threads=1)
    assert users.shape == (2, 8)
    assert items.shape == (3, 8)
    assert not users[:, 2:].any()
