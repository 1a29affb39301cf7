"""The made data of `make bench`: what its docstring promises."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.performance import shapes
from benchmarks.performance.shapes import AS_OF, Shape

SHAPE = Shape("test", 20_000, 300, 500)


def test_the_numbers_are_the_shapes_and_no_pair_comes_twice() -> None:
    log = shapes.interactions(SHAPE)
    assert (len(log), len(log.users), len(log.items)) == (20_000, 300, 500)
    pair = log.user_idx.astype(np.int64) * 500 + log.item_idx
    assert len(np.unique(pair)) == len(pair)
    assert np.bincount(log.user_idx, minlength=300).min() >= 5
    order = np.lexsort((log.item_idx, log.ts, log.user_idx))
    assert (order == np.arange(len(log))).all()
    assert log.ts.max() < AS_OF


def test_the_same_seed_gives_the_same_and_another_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "PART_ROWS", 3_000)  # several parts
    first, again, other = (list(shapes.parts(SHAPE, seed)) for seed in (1, 1, 2))
    assert len(first) > 3
    for one, two in zip(first, again, strict=True):
        for name in ("user_idx", "item_idx", "ts", "rating"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert any(
        len(a.ts) != len(b.ts) or (a.ts != b.ts).any() for a, b in zip(first, other, strict=False)
    )
    users = np.concatenate([part.user_idx for part in first])
    assert (np.diff(users) >= 0).all()  # whole users, in order


def test_popularity_and_histories_are_skewed() -> None:
    log = shapes.interactions(SHAPE)
    per_item = np.sort(np.bincount(log.item_idx, minlength=500))[::-1]
    per_user = np.sort(np.bincount(log.user_idx, minlength=300))[::-1]
    assert per_item[:50].sum() > 0.2 * len(log)
    assert per_user[:30].sum() > 0.15 * len(log)
    hour = log.ts // 3_600_000_000 % 24
    assert (hour == 20).sum() > 3 * (hour == 4).sum()
    weekday = log.ts // 86_400_000_000 % 7  # 0 is a Thursday
    assert (weekday == 2).sum() > (weekday == 5).sum()


def test_more_than_users_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="interactions a user"):
        shapes.histories(Shape("dense", 100_000, 10, 40))
