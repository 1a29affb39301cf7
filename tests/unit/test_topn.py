"""Exact top-n: equal to a full stable sort, whatever the tiles, blocks and threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recjobs import panels, topn
from recjobs import threads as threads_module
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.topn import FactorRanker, top_n_of_scores


def seen_of(rows: list[list[int]]) -> SeenItems:
    """Seen items from one list per user."""
    lengths = [len(set(row)) for row in rows]
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = [item for row in rows for item in sorted(set(row))]
    return SeenItems(indptr, np.array(items, dtype=np.int32))


def by_full_sort(
    scores: Float32Array, seen: SeenItems, candidates: BoolArray, n: int
) -> tuple[Int32Array, Float32Array]:
    """The oracle: mask, sort everything stably by descending score, cut."""
    items, values = topn.empty_lists(len(scores), n)
    for user, row in enumerate(scores):
        left = row.astype(np.float64)
        left[seen.indices[seen.indptr[user] : seen.indptr[user + 1]]] = -np.inf
        left[~candidates | np.isnan(left)] = -np.inf
        order = [int(item) for item in np.argsort(-left, kind="stable") if left[item] > -np.inf]
        items[user, : len(order[:n])] = order[:n]
        values[user, : len(order[:n])] = row[order[:n]]
    return items, values


@st.composite
def cases(draw: st.DrawFn) -> tuple[Float32Array, SeenItems, BoolArray, int]:
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few distinct values: ties everywhere, -inf and NaN among them.
    values = np.array([-np.inf, np.nan, -1, 0, 0.5, 2, np.inf], dtype=np.float32)
    scores = rng.choice(values[: draw(st.integers(1, len(values)))], (n_users, n_items))
    share = draw(st.sampled_from([0.0, 0.3, 1.0]))
    rows = [np.flatnonzero(rng.random(n_items) < share).tolist() for _ in range(n_users)]
    candidates = rng.random(n_items) < draw(st.sampled_from([0.0, 0.5, 1.0]))
    return scores, seen_of(rows), candidates, draw(st.integers(1, 30))


@given(cases())
def test_scores_equal_a_full_sort(case: tuple[Float32Array, SeenItems, BoolArray, int]) -> None:
    scores, seen, candidates, n = case
    users = np.arange(len(scores), dtype=np.int32)
    expected = by_full_sort(scores, seen, candidates, n)
    received = top_n_of_scores(scores.copy(), users, seen, candidates, n)
    np.testing.assert_array_equal(received[0], expected[0])
    np.testing.assert_array_equal(received[1], expected[1])


@given(
    st.integers(1, 6), st.sampled_from([1, 40, 1024, 1025, 2100]), st.integers(1, 40),
    st.integers(0, 2**32 - 1), st.booleans(),
)  # fmt: skip
def test_factors_equal_a_full_sort(
    n_users: int, n_items: int, n: int, seed: int, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    # Small integers: every product is exact, and ties are many.
    user, item = (rng.integers(-3, 4, (size, 3)).astype(np.float32) for size in (n_users, n_items))
    if ties:
        item[:] = item[0]
    rows = [np.flatnonzero(rng.random(n_items) < 0.3).tolist() for _ in range(n_users - 1)]
    seen = seen_of([*rows, []])
    candidates = rng.random(n_items) < 0.7
    users = np.arange(n_users, dtype=np.int32)
    expected = by_full_sort(user @ item.T, seen, candidates, n)
    received = FactorRanker(item, candidates).top_n(user, users, seen, n)
    np.testing.assert_array_equal(received[0], expected[0])
    np.testing.assert_array_equal(received[1], expected[1])


@pytest.fixture(scope="module")
def factors() -> tuple[Float32Array, Float32Array, SeenItems, BoolArray]:
    rng = np.random.default_rng(5)
    user = rng.standard_normal((4500, 61)).astype(np.float32)
    item = rng.standard_normal((3001, 61)).astype(np.float32)
    rows = [rng.choice(3001, rng.integers(0, 200), replace=False).tolist() for _ in user]
    return user, item, seen_of(rows), rng.random(3001) < 0.9


@pytest.mark.parametrize("block", [1, 7, 64, 4096])
def test_the_block_changes_no_bit(
    factors: tuple[Float32Array, Float32Array, SeenItems, BoolArray], block: int
) -> None:
    user, item, seen, candidates = factors
    ranker = FactorRanker(item, candidates)
    everyone = np.arange(len(user), dtype=np.int32)
    expected = ranker.top_n(user, everyone, seen, 20)
    # Blocks of one take their time: some users will do.
    chosen = everyone if block > 7 else everyone[:: len(user) // 40]
    for start in range(0, len(chosen), block):
        part = chosen[start : start + block]
        items, scores = ranker.top_n(user, part, seen, 20)
        np.testing.assert_array_equal(items, expected[0][part])
        np.testing.assert_array_equal(scores, expected[1][part])


def test_the_threads_change_no_bit(
    factors: tuple[Float32Array, Float32Array, SeenItems, BoolArray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user, item, seen, candidates = factors
    users = np.arange(2000, dtype=np.int32)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(threads_module, "cores", lambda threads=threads: threads)
        results.append(FactorRanker(item, candidates).top_n(user, users, seen, 20))
    for items, scores in results[1:]:
        np.testing.assert_array_equal(items, results[0][0])
        np.testing.assert_array_equal(scores, results[0][1])


def test_nobody_and_nothing() -> None:
    nobody, nothing = np.zeros(0, dtype=np.int32), np.zeros((3, 2), dtype=np.float32)
    items, scores = FactorRanker(nothing, np.ones(3, np.bool_)).top_n(
        nothing, nobody, seen_of([[], [], []]), 4
    )
    assert items.shape == scores.shape == (0, 4)
    some = np.arange(3, dtype=np.int32)
    items, _ = FactorRanker(nothing, np.zeros(3, np.bool_)).top_n(
        nothing, some, seen_of([[], [], []]), 2
    )
    assert (items == -1).all()


def test_kernels_compile_where_no_cache_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    from recjobs import kernels

    calls: list[bool] = []

    def njit(*, nogil: bool, fastmath: bool, forceinline: bool, cache: bool = False) -> Any:
        calls.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return lambda function: function

    monkeypatch.setattr(kernels.numba, "njit", njit)
    assert kernels.compiled(len) is len
    assert calls == [True, False]


def test_numba_is_not_imported_with_the_module() -> None:
    source = Path(topn.__file__).read_text()
    assert "\nfrom recjobs import topn_kernels" not in source


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_no_numbers_end_no_search(value: float) -> None:
    rng = np.random.default_rng(3)
    user, item = (rng.standard_normal((size, 8)).astype(np.float32) for size in (20, 3000))
    item /= np.arange(1, 3001, dtype=np.float32)[:, None]  # so short that many are never read
    user[3, 2] = item[2000, 5] = value
    users, seen = np.arange(20, dtype=np.int32), seen_of([[]] * 20)
    candidates = np.ones(3000, dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        scores = np.zeros((20, 3000), dtype=np.float32)
        for d in range(8):
            scores += user[:, d : d + 1] * item[:, d]
    expected = by_full_sort(scores, seen, candidates, 10)
    received = FactorRanker(item, candidates).top_n(user, users, seen, 10)
    finite = [row for row in range(20) if row != 3]
    np.testing.assert_array_equal(received[0][finite], expected[0][finite])
    assert not np.isnan(received[1]).any()
    assert not np.isneginf(received[1][received[0] >= 0]).any()


def test_short_vectors_are_not_read() -> None:
    rng = np.random.default_rng(4)
    user, item = (rng.standard_normal((size, 16)).astype(np.float32) for size in (100, 20_000))
    users, candidates = np.arange(100, dtype=np.int32), np.ones(20_000, dtype=np.bool_)
    seen = seen_of([rng.choice(20_000, 50, replace=False).tolist() for _ in users])
    item /= np.linalg.norm(item, axis=1, keepdims=True)
    ranker = FactorRanker(item, candidates)
    ranker.top_n(user, users, seen, 10)
    everything = ranker.computed
    assert everything == -(-len(users) // panels.ROWS) * -(-20_000 // panels.COLUMNS)

    lengths = rng.permutation(1 / np.arange(1, 20_001)).astype(np.float32)
    ranker = FactorRanker(item * lengths[:, None], candidates)
    received = ranker.top_n(user, users, seen, 10)
    assert ranker.computed < everything / 30
    np.testing.assert_array_equal(
        received[0], by_full_sort(user @ (item * lengths[:, None]).T, seen, candidates, 10)[0]
    )


def test_equal_scores_go_to_the_smaller_items_whatever_their_vectors() -> None:
    # Lengths fall with the item: the last items are visited first.
    item = np.zeros((500, 2), dtype=np.float32)
    item[:, 0], item[:, 1] = 1, np.arange(500)
    user = np.array([[2, 0], [-0.0, 0]], dtype=np.float32)
    users, candidates = np.arange(2, dtype=np.int32), np.ones(500, dtype=np.bool_)
    items, scores = FactorRanker(item, candidates).top_n(user, users, seen_of([[0, 2], []]), 5)
    assert items.tolist() == [[1, 3, 4, 5, 6], [0, 1, 2, 3, 4]]
    assert scores.tolist() == [[2.0] * 5, [0.0] * 5]


@pytest.mark.parametrize("n", [1, 7, 64, 700, 3001])
def test_any_length_of_a_list(
    factors: tuple[Float32Array, Float32Array, SeenItems, BoolArray], n: int
) -> None:
    user, item, seen, candidates = factors
    users = np.arange(13, dtype=np.int32)
    whole = FactorRanker(item, candidates).top_n(user, users, seen, 3001)
    items, scores = FactorRanker(item, candidates).top_n(user, users, seen, n)
    np.testing.assert_array_equal(items, whole[0][:, :n])
    np.testing.assert_array_equal(scores, whole[1][:, :n])
    # Many times as many as a buffer holds, from the least to the greatest: each is cut often.
    rising = np.arange(3001, dtype=np.float32)[None]
    items, _ = top_n_of_scores(rising.copy(), users[:1], seen_of([[]]), np.ones(3001, np.bool_), n)
    np.testing.assert_array_equal(items[0], np.arange(3000, 3000 - n, -1))


def test_a_user_who_has_seen_everything_gets_nothing() -> None:
    item = np.ones((130, 3), dtype=np.float32)
    candidates = np.arange(130) >= 5
    items, scores = FactorRanker(item, candidates).top_n(
        np.ones((1, 3), np.float32), np.zeros(1, np.int32), seen_of([list(range(130))]), 4
    )
    assert (items == -1).all()
    assert np.isneginf(scores).all()


def products_in_turn(user: Float32Array, item: Float32Array) -> Float32Array:
    """The scores of float32, one dimension after another."""
    scores = np.zeros((len(user), len(item)), dtype=np.float32)
    for d in range(user.shape[1]):
        scores += user[:, d : d + 1] * item[:, d]
    return scores


@pytest.mark.parametrize("exponent", [-74, -66, -50, -20, 0, 40, 58])
def test_vectors_of_any_length_are_ranked_by_their_scores(exponent: int) -> None:
    rng = np.random.default_rng(6)
    unit = np.float32(2.0**exponent)
    user, item = (unit * rng.integers(-3, 4, (size, 3)).astype(np.float32) for size in (11, 2000))
    item[7] *= 64  # the unit of the others' rounding is coarse
    user[2] = 0
    users, candidates = np.arange(11, dtype=np.int32), rng.random(2000) < 0.8
    seen = seen_of([rng.choice(2000, 300, replace=False).tolist() for _ in users])
    expected = by_full_sort(products_in_turn(user, item), seen, candidates, 25)
    received = FactorRanker(item, candidates).top_n(user, users, seen, 25)
    np.testing.assert_array_equal(received[0], expected[0])
    np.testing.assert_array_equal(received[1], expected[1])


@pytest.mark.parametrize("step", [1e-6, 2.0**-10, 2.0**-7, 1.0, 8.0])
def test_scores_that_rounded_vectors_cannot_tell_apart(step: float) -> None:
    rng = np.random.default_rng(7)
    item = np.ones((3000, 2), dtype=np.float32)
    item[:, 0] = 8192 + rng.permutation(3000) * step
    user = np.array([[1, 0], [-1, 0], [1, 1], [0.5, -4]], dtype=np.float32)
    users, candidates = np.arange(4, dtype=np.int32), np.ones(3000, dtype=np.bool_)
    seen = seen_of([list(range(0, 3000, 3)), [], [5], []])
    expected = by_full_sort(products_in_turn(user, item), seen, candidates, 40)
    received = FactorRanker(item, candidates).top_n(user, users, seen, 40)
    np.testing.assert_array_equal(received[0], expected[0])
    np.testing.assert_array_equal(received[1], expected[1])


def test_lists_are_made_where_numba_is_told_to_use_less_of_the_machine(tmp_path: Path) -> None:
    program = (
        "import numpy as np; from recjobs.dataset import SeenItems\n"
        "from recjobs.topn import FactorRanker\n"
        "item = np.arange(70, dtype=np.float32)[:, None]\n"
        "ranker = FactorRanker(item, np.ones(70, np.bool_))\n"
        "seen = SeenItems(np.array([0, 1]), np.array([69], np.int32))\n"
        "lists = ranker.top_n(item[1:2], np.zeros(1, np.int32), seen, 3)\n"
        "print(lists[0].tolist(), lists[1].tolist())\n"
    )
    less = {"NUMBA_ENABLE_AVX": "0", "NUMBA_CACHE_DIR": str(tmp_path)}
    printed = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **less},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert printed.strip() == "[[68, 67, 66]] [[68.0, 67.0, 66.0]]"
