"""Rows of a log brought into order, by any number of threads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from recjobs import pairs
from recjobs.pairs import by_user


@pytest.mark.parametrize("cores", [1, 2, 7])
@pytest.mark.parametrize(("n_rows", "n_users"), [(0, 0), (0, 5), (1, 1), (3, 9), (1000, 7)])
def test_rows_by_user_are_a_stable_sort(
    cores: int, n_rows: int, n_users: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "cores", lambda: cores)
    rng = np.random.default_rng(n_rows)
    user = rng.integers(0, max(n_users, 1), n_rows).astype(np.int32)
    columns = [np.arange(n_rows, dtype=np.int32), np.arange(n_rows), np.arange(n_rows) / 2]
    order = np.argsort(user, kind="stable")
    expected = [user[order], *(column[order] for column in columns)]
    found = by_user(user.copy(), *(column.copy() for column in columns), n_users=n_users)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_counts_of_many_users_are_not_kept_for_each_of_many_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "cores", lambda: 64)
    n_users = 100_000
    user, item = np.zeros(2000, dtype=np.int32), np.arange(2000, dtype=np.int32)
    by_user(user.copy(), item.copy(), n_users=n_users)  # compiled
    tracemalloc.start()
    try:
        by_user(user, item, n_users=n_users)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100 * n_users
