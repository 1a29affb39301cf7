"""Reasons and neighbours by vectors, against plain products."""

from __future__ import annotations

import numpy as np
import pytest

from recjobs.dataset import SeenItems
from recjobs.models.relations import ItemVectors


@pytest.mark.parametrize(("dim", "n"), [(1, 1), (3, 6), (17, 20)])
def test_the_reason_is_the_history_item_of_the_greatest_cosine(dim: int, n: int) -> None:
    rng = np.random.default_rng(dim)
    n_items = 300
    known = np.arange(n_items) % 7 != 0
    vectors = rng.standard_normal((n_items, dim), dtype=np.float32)
    relation = ItemVectors.of(vectors, known)
    # Without a history, with one, and around the 64 that are looked at together.
    sizes = np.array([0, 1, 2, 63, 64, 65, 130, n_items])
    history = [np.sort(rng.permutation(n_items)[:size]) for size in sizes]
    seen = SeenItems(np.append(0, np.cumsum(sizes)), np.concatenate(history).astype(np.int32))
    users = rng.permutation(len(sizes)).astype(np.int32)
    lists = rng.integers(-1, n_items, (len(sizes), n)).astype(np.int32)
    found = relation.because(lists, users, seen)

    cosine = relation.unit @ relation.unit.T
    np.fill_diagonal(cosine, -np.inf)  # no item is a reason for itself
    for row, user in enumerate(users):
        others = history[user][known[history[user]]]
        for item, because in zip(lists[row], found[row], strict=True):
            if item < 0 or not known[item] or not len(set(others) - {item}):
                assert because == -1
            else:
                assert because in others
                assert because != item
                best = cosine[item, others].max()
                assert cosine[item, because] == pytest.approx(best, abs=1e-6)


def test_a_reason_is_the_same_wherever_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    n_items, n = 500, 11
    vectors = rng.integers(-1, 2, (n_items, 3)).astype(np.float32)  # many are equal, some are 0
    sizes = rng.integers(0, 40, 60)
    history = [np.sort(rng.permutation(n_items)[:size]) for size in sizes]
    seen = SeenItems(np.append(0, np.cumsum(sizes)), np.concatenate(history).astype(np.int32))
    users = rng.permutation(len(sizes)).astype(np.int32)
    lists = rng.integers(-1, n_items, (len(sizes), n)).astype(np.int32)

    found = {}
    for among, speed in (("history", 0), ("nearest", n_items)):
        monkeypatch.setattr("recjobs.models.nearest._SPEED", speed)
        relation = ItemVectors.of(vectors, np.arange(n_items) % 5 != 0)
        found[among] = relation.because(lists, users, seen)
    assert (found["history"] >= 0).any()
    assert np.array_equal(found["history"], found["nearest"])
