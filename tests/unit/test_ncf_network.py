"""The arrays of the network say what the network says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recjobs import threads
from recjobs.dataset import SeenItems
from recjobs.models.ncf import NcfSettings
from recjobs.models.ncf_filter import Filter
from recjobs.models.ncf_network import Scorer, build_network
from recjobs.models.training import start_keras
from recjobs.topn import top_n_of_scores


@pytest.mark.parametrize("hidden", [(128, 64), (7, 1), (6, 13)])
def test_all_pairs_are_what_keras_predicts(
    hidden: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, keras = start_keras(1, 2)
    n_users, n_items = 40, 131
    network = build_network(
        keras, n_users, n_items, NcfSettings(embedding_dim=9, hidden=hidden, dropout=0.5), seed=1
    )
    rng = np.random.default_rng(2)
    network.set_weights(
        [weight + rng.normal(0, 0.3, weight.shape) for weight in network.get_weights()]
    )
    scorer = Scorer.of(network)
    users = rng.permutation(n_users).astype(np.int32)
    pairs = np.repeat(users, n_items), np.tile(np.arange(n_items, dtype=np.int32), n_users)
    expected = np.asarray(network(list(pairs))).reshape(n_users, n_items)
    received = scorer.block(users)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scorer.pairs(*pairs), expected.ravel(), rtol=1e-4, atol=1e-5)

    monkeypatch.setattr(threads, "cores", lambda: 3)
    for part in (users[:1], users[5:12]):
        place = [int(np.flatnonzero(users == user)[0]) for user in part]
        np.testing.assert_array_equal(scorer.block(part), received[place])


def a_network(hidden: tuple[int, int], scale: float = 0.3) -> Scorer:
    rng = np.random.default_rng(4)
    n_users, n_items, dim = 45, 700, 9
    shapes = {
        "users": (n_users, dim),
        "items": (n_items, dim),
        "user_bias": (n_users,),
        "item_bias": (n_items,),
        "first": ((2 * dim, hidden[0]), (hidden[0],)),
        "second": (hidden, (hidden[1],)),
        "output": ((hidden[1], 1), (1,)),
        "product": (dim,),
    }

    def draw(shape: Any) -> Any:
        if isinstance(shape[0], tuple):
            return tuple(draw(part) for part in shape)
        return rng.normal(0, scale, shape).astype(np.float32)

    return Scorer(**{name: draw(shape) for name, shape in shapes.items()})


def assert_full_sort(scorer: Scorer, n: int) -> None:
    rng = np.random.default_rng(5)
    users = rng.permutation(len(scorer.users)).astype(np.int32)
    candidates = rng.random(len(scorer.items)) < 0.8
    histories = [
        rng.choice(len(candidates), rng.integers(0, 300), replace=False).astype(np.int32)
        for _ in scorer.users
    ]
    indptr = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    seen = SeenItems(indptr.astype(np.int64), np.concatenate(histories))
    expected = top_n_of_scores(scorer.block(users), users, seen, candidates, n)
    for part in (slice(None), slice(3, 4), slice(10, 33)):
        received = scorer.top_n(users[part], seen, candidates, n)
        np.testing.assert_array_equal(received[0], expected[0][part])
        np.testing.assert_array_equal(received[1], expected[1][part])


@pytest.mark.parametrize("hidden", [(128, 64), (7, 1), (6, 13)])
@pytest.mark.parametrize("scale", [1e-8, 0.05, 0.3, 3.0])
def test_no_score_is_further_off_than_is_said(hidden: tuple[int, int], scale: float) -> None:
    scorer = a_network(hidden, scale)
    rounded = Filter.of(scorer)
    assert rounded is not None
    users = np.arange(len(scorer.users), dtype=np.int32)
    scores, off = rounded.near(users, *scorer.of_users(users))
    constant = (scorer.user_bias + scorer.output[1][0])[:, None]
    assert (np.abs(scores + constant - scorer.block(users)) <= off[:, None]).all()
    if hidden[0] > 100:  # and what is said is of use
        assert (off < 0.2 * scores.std(axis=1)).all()


@pytest.mark.parametrize("n", [1, 20, 690])
@pytest.mark.parametrize("hidden", [(128, 64), (7, 1), (6, 13)])
def test_the_best_are_those_of_all_scores(hidden: tuple[int, int], n: int) -> None:
    assert_full_sort(a_network(hidden), n)


def test_the_best_of_items_that_rounding_cannot_tell_apart() -> None:
    scorer = a_network((128, 64))
    scorer.items[100:400] = scorer.items[99]
    scorer.item_bias[100:250] = scorer.item_bias[99]
    scorer.items[400:] = scorer.items[50] * (1 + np.linspace(0, 1e-5, 300))[:, None]
    assert_full_sort(scorer, 30)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e20, 0.0])
def test_the_best_by_weights_that_rounding_cannot_hold(value: float) -> None:
    scorer = a_network((7, 5))
    scorer.items[3, 2] = scorer.users[4, 1] = value
    if value == 0:
        scorer.second[0][:] = scorer.first[0][:, 2] = scorer.first[1][2] = 0
    with np.errstate(invalid="ignore"):
        assert_full_sort(scorer, 10)
