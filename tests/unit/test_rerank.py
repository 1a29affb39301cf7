"""Re-ranking against the same greedy choice written plainly, and what each weight does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings, RerankSettings
from recjobs.dataset import SeenItems, TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.featurize import from_table
from recjobs.models.blend import Blend
from recjobs.rerank import Reranker
from recjobs.score import top_n

AS_OF = 400 * 86_400_000_000
GENRES = ("drama", "comedy", "war|drama", "comedy|romance", "documentary")


def data(*, genres: bool = True) -> TrainingSet:
    rng = np.random.default_rng(11)
    rows = {
        (int(user), int(item))
        for user in range(40)
        for item in np.minimum(rng.geometric(0.06, size=12), 59)
    }
    log = log_of([(user, item, 1.0) for user, item in sorted(rows)])
    if genres:
        named = [GENRES[item % len(GENRES)] for item in log.items.ids.to_pylist()]
        table = pa.table({"item_id": log.items.ids, "genres": pa.array(named)})
        log = replace(log, item_features=from_table(table, log.items))
    return training_set(log, every(log), AS_OF, FeedbackSettings())


def fitted(train: TrainingSet, name: str = "ials") -> models.Model:
    model = models.make(name, {"embedding_dim": 8} if name == "ials" else {}, seed=3, threads=2)
    model.fit(train)
    return model


def lists(
    train: TrainingSet, model: models.Model, strength: float = 1.0, **weights: float
) -> tuple[Reranker | None, np.ndarray, np.ndarray]:
    rerank = Reranker.of(train, model, RerankSettings(pool=25, **weights))
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    (block,) = top_n(
        model, train, users, seen, train.candidates, 8, block_users=4096,
        rerank=rerank and rerank.times(strength),
    )  # fmt: skip
    return rerank, block.item_idx, block.score


def plain(rerank: Reranker, user: int, pool: np.ndarray, score: np.ndarray, n: int) -> list[int]:
    """The greedy choice, one list at a time, in float64."""
    weights = rerank.settings
    own = rerank.history.indices[rerank.history.indptr[user] : rerank.history.indptr[user + 1]]
    wanted = rerank.shares[own].sum(axis=0).astype(float)
    wanted /= max(wanted.sum(), 1e-300)
    relevance = (score - score[-1]) / max(score[0] - score[-1], 1e-12)
    chosen: list[int] = []
    while len(chosen) < min(n, len(pool)):
        best, greatest = -1, -np.inf
        for place, item in enumerate(pool):
            if place in chosen:
                continue
            found = relevance[place] - weights.popularity * rerank.popularity[item]
            others = [rerank.unit[item] @ rerank.unit[pool[c]] for c in chosen]
            found -= weights.diversity * max([0.0, *others])
            if weights.calibration and wanted.sum():
                q = rerank.shares[[*pool[chosen], item]].sum(axis=0) / (len(chosen) + 1)
                mixed = 0.99 * q + 0.01 * wanted
                some = wanted > 0
                divergence = wanted[some] * np.log(wanted[some] / mixed[some])
                found -= weights.calibration * divergence.sum()
            if found > greatest + 1e-6:
                best, greatest = place, found
        chosen.append(best)
    return [int(pool[place]) for place in chosen]


@pytest.mark.parametrize(
    "weights",
    [
        {"diversity": 0.7},
        {"calibration": 1.5},
        {"popularity": 0.8},
        {"diversity": 0.3, "calibration": 0.5, "popularity": 0.2},
    ],
)
def test_lists_are_the_plain_greedy_choice(weights: dict[str, float]) -> None:
    train = data()
    model = fitted(train)
    rerank, found, _ = lists(train, model, **weights)
    assert rerank is not None
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    (pool,) = top_n(model, train, users, seen, train.candidates, 25, block_users=4096)
    same = [
        found[user].tolist()
        == plain(rerank, user, pool.item_idx[user], pool.score[user].astype(float), 8)
        for user in users
    ]
    assert np.mean(same) > 0.95  # a near tie may round the other way


def test_a_list_begins_alike_however_long_it_is() -> None:
    train = data()
    model = fitted(train)
    rerank, short, short_score = lists(train, model, diversity=0.7, popularity=0.3)
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    found = [
        next(top_n(model, train, users, seen, train.candidates, 40, block_users=4096, rerank=each))
        for each in (rerank, None)
    ]
    long, plain_lists = found
    np.testing.assert_array_equal(long.item_idx[:, :8], short)
    np.testing.assert_array_equal(long.score[:, :8], short_score)
    # The pool is 25: in another order, and behind it the model's own.
    np.testing.assert_array_equal(
        np.sort(long.item_idx[:, :25], axis=1), np.sort(plain_lists.item_idx[:, :25], axis=1)
    )
    np.testing.assert_array_equal(long.item_idx[:, 25:], plain_lists.item_idx[:, 25:])
    np.testing.assert_array_equal(long.score[:, 25:], plain_lists.score[:, 25:])


def test_each_weight_gives_what_it_is_for() -> None:
    train = data()
    model = fitted(train)
    rerank, before, _ = lists(train, model, strength=0.0, diversity=1.0)
    assert rerank is not None
    _, diverse, _ = lists(train, model, diversity=1.0)
    assert rerank.likeness(diverse).mean() < rerank.likeness(before).mean() - 0.02
    _, rare, _ = lists(train, model, popularity=1.0)
    assert rerank.popularity[rare].mean() < rerank.popularity[before].mean() - 0.02


def test_off_by_default_and_at_strength_zero() -> None:
    train = data()
    model = fitted(train)
    none, plain_lists, plain_scores = lists(train, model)
    assert none is None
    _, items, scores = lists(train, model, strength=0.0, diversity=1.0)
    np.testing.assert_array_equal(items, plain_lists)
    np.testing.assert_array_equal(scores, plain_scores)


def test_without_categories_vectors_say_what_is_alike() -> None:
    train = data(genres=False)
    model = fitted(train)
    rerank, diverse, _ = lists(train, model, diversity=1.0)
    assert rerank is not None
    _, before, _ = lists(train, model, strength=0.0, diversity=1.0)
    assert rerank.likeness(diverse).mean() < rerank.likeness(before).mean()


def test_what_is_not_known_is_asked_for() -> None:
    train = data(genres=False)
    with pytest.raises(ConfigError, match=r"rerank\.calibration .*source\.items\.categories"):
        lists(train, fitted(train), calibration=1.0)
    with pytest.raises(ConfigError, match=r"rerank\.diversity .*Received: model ease"):
        lists(train, fitted(train, "ease"), diversity=1.0)


def test_a_blend_is_diverse_by_the_vectors_of_any_of_its_models() -> None:
    train = data(genres=False)
    parts = {"ease": {}, "ials": {"embedding_dim": 4}}
    blend = models.make("blend", {"models": parts}, seed=3, threads=2)
    blend.fit(train)
    assert isinstance(blend, Blend)
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        blend.weights = np.array(weights, dtype=np.float32)
        rerank = Reranker.of(train, blend, RerankSettings(diversity=1.0))
        assert rerank is not None
        assert rerank.unit.shape == (train.n_items, 4)


def test_likeness_is_the_mean_over_pairs() -> None:
    train = data()
    rerank = Reranker.of(train, fitted(train), RerankSettings(diversity=1.0))
    assert rerank is not None
    one = np.array([[3, 5, 9, -1]], dtype=np.int32)
    pairs = [rerank.unit[a] @ rerank.unit[b] for a, b in ((3, 5), (3, 9), (5, 9))]
    assert rerank.likeness(one)[0] == pytest.approx(np.mean(pairs), abs=1e-5)
