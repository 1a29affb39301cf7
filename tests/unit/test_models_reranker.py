"""The reranked blend: taken where it serves better, its scores by hand, its state, its order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from logs import every, log_of, sets
from recjobs.config import FeedbackSettings
from recjobs.dataset import Interactions, SeenItems, TrainingSet, training_set
from recjobs.models.blend import Blend, BlendSettings
from recjobs.models.candidates import Candidates, Facts
from recjobs.models.reranker import Reranker

DAY = 86_400_000_000
AS_OF = 400 * DAY
USERS, ITEMS, CANDIDATES = 900, 60, 40


def choices(*, late: bool) -> Interactions:
    """Users choose at random for 60 days; at the end all choose an item that is new, or any."""
    rng = np.random.default_rng(7 if late else 8)
    rows = []
    for user in range(USERS):
        old = rng.permutation(ITEMS - 6 if late else ITEMS)[:8]
        rows += [(user, int(item), float(rng.integers(0, 60))) for item in old]
        # The new ones are chosen by every third in the days before, so that they are known.
        if late and user % 3 == 0:
            rows.append((user, ITEMS - 1 - int(rng.integers(6)), 97.0))
        last = ITEMS - 1 - int(rng.integers(6)) if late else int(rng.integers(ITEMS))
        rows.append((user, last, 99.0))
    return log_of(rows)


def blend(*, rerank: bool = True) -> Blend:
    settings = {
        "models": {"ease": {"l2": 50.0}, "item_knn": {}},
        "rerank": rerank,
        "candidates": CANDIDATES,
    }
    return Blend(BlendSettings.model_validate(settings), seed=1, threads=2)


def fitted(*, late: bool = True) -> tuple[Blend, TrainingSet, list[str]]:
    train, validation = sets(choices(late=late))
    told: list[str] = []
    model = blend()
    model.fit(train, validation=validation, progress=lambda _, note="": told.append(note))
    return model, train, told


def test_what_is_new_comes_first_once_it_was_learned(tmp_path: Path) -> None:
    model, train, told = fitted()
    assert "; reranked: +" in told[-1]
    plain, again = blend(rerank=False), blend()
    plain.choices = {"weights": model.choices["weights"]}
    again.choices = model.choices
    for each in (plain, again):
        each.fit(train, epochs=1)
    users = np.arange(train.n_users, dtype=np.int32)
    seen = SeenItems(train.indptr, train.item_idx)
    new = [
        (each.top_n(users, seen, train.candidates, 3)[0] >= ITEMS - 6).mean()
        for each in (plain, again)
    ]
    assert new[1] > new[0] + 0.2
    np.testing.assert_array_equal(again.score_block(users), model.score_block(users))
    again.save(tmp_path / "model")
    loaded = Blend.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.score_block(users), again.score_block(users))


def test_where_nothing_is_to_be_learned_the_blend_stays_as_it_is() -> None:
    model, train, told = fitted(late=False)
    assert "; not reranked: " in told[-1]
    assert "reranker" not in model.choices
    users = np.arange(train.n_users, dtype=np.int32)
    plain = blend(rerank=False)
    plain.choices = model.choices
    plain.fit(train, epochs=1)
    np.testing.assert_array_equal(plain.score_block(users), model.score_block(users))


def test_a_handful_of_users_chooses_no_reranker() -> None:
    log = choices(late=True)
    few = (log.ts == log.ts.max()) & (log.user_idx < 29)
    train, _ = sets(log)
    told: list[str] = []
    model = blend()
    model.fit(
        train,
        validation=training_set(log, few, AS_OF, FeedbackSettings()),
        progress=lambda _, note="": told.append(note),
    )
    assert "; not reranked: too few users" in told[-1]
    assert model.reranker is None


def test_a_users_scores_are_his_own_and_the_rest_keeps_its_order() -> None:
    model, train, _ = fitted()
    assert model.reranker is not None
    users = np.arange(train.n_users, dtype=np.int32)
    scores = model.score_block(users)
    for user in (0, 17, USERS - 1):
        alone = model.score_block(np.array([user], dtype=np.int32))
        np.testing.assert_array_equal(alone[0], scores[user])
    best, blended = model._candidates(users)
    for user in range(0, USERS, 40):
        chosen = best.item_idx[user][best.item_idx[user] >= 0]
        assert CANDIDATES <= len(chosen) <= 2 * CANDIDATES
        rest = np.setdiff1d(np.flatnonzero(model.known_items), chosen)
        assert scores[user, rest].max() <= scores[user, chosen].min()
        assert blended[user, rest].max() <= blended[user, chosen].min()
        order = rest[np.argsort(-blended[user, rest], kind="stable")]
        assert np.all(np.diff(scores[user, order]) <= 0)


def test_scores_of_the_network_by_hand() -> None:
    rng = np.random.default_rng(3)
    item_idx = np.array([[4, 2, -1]], dtype=np.int32)
    blended = np.array([[2.0, 1.0, -np.inf]], dtype=np.float32)
    features = rng.normal(size=(1, 3, 5)).astype(np.float32)
    features[0, :2, :2] = [[-3, 0], [1, 4]]
    network = Reranker(
        rng.normal(size=5).astype(np.float32),
        np.full(5, 0.5, dtype=np.float32),
        np.array([-0.5, -9, -9, -9, -9], dtype=np.float32),
        np.array([9, 0.5, 9, 9, 9], dtype=np.float32),
        *(rng.normal(size=shape).astype(np.float32) for shape in ((5, 16), 16, 16, ())),
    )
    within = features.astype(np.float64)
    within[0, :2, :2] = [[-0.5, 0], [1, 0.5]]
    scaled = (within - network.mean) / 0.5
    inner = np.maximum(scaled @ network.hidden + network.bias, 0)
    expected = network.scale * blended[0, :2] + (inner @ network.out)[0, :2]
    scores = network.score(Candidates(item_idx, blended, features))
    np.testing.assert_allclose(scores[0, :2], expected, rtol=1e-4)
    assert scores[0, 2] == -np.inf
    back = Reranker.of(network.plain())
    for name, array in network.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], array)


def test_a_long_history_reaches_further() -> None:
    facts = Facts(np.zeros((50, 1), dtype=np.float32), np.array([3, 99], dtype=np.int32))
    scores = np.tile(np.arange(50, dtype=np.float32), (2, 1))
    known = np.ones(50, dtype=np.bool_)
    known[49] = False
    users = np.array([0, 1], dtype=np.int32)
    found = Candidates.of(users, facts, [scores], scores, known, 20)
    assert [(row >= 0).sum() for row in found.item_idx] == [23, 40]
    assert found.item_idx[0, :3].tolist() == [48, 47, 46]
    only = found.only(found.item_idx % 2 == 0)
    assert only.item_idx[1].tolist() == list(range(48, 8, -2))
    assert (only.item_idx[0] >= 0).sum() == 12
    np.testing.assert_array_equal(only.features[1, :, 0], only.item_idx[1])


def test_a_feature_goes_hardly_beyond_what_it_was_while_learning() -> None:
    rng = np.random.default_rng(5)
    item_idx = np.tile(np.arange(20, dtype=np.int32), (300, 1))
    features = rng.normal(size=(300, 20, 3)).astype(np.float32)
    features[:, :, 1] = 0
    features[:, :, 2] = rng.uniform(1.9, 1.95, size=(300, 20))
    blended = rng.normal(size=(300, 20)).astype(np.float32)
    best = features[:, :, 0].argmax(axis=1)
    given = Candidates(item_idx, blended, features)
    learned = Reranker.learn(given, item_idx == best[:, None], seed=1, threads=2)
    assert learned is not None
    later, nearest = features.copy(), features.copy()
    later[:, ::2, 1], later[:, :, 2] = 3, 2.2
    nearest[:, :, 2] = 1.955
    scores = learned.score(Candidates(item_idx, blended, later))
    expected = learned.score(Candidates(item_idx, blended, nearest))
    np.testing.assert_allclose(scores, expected, atol=1e-3)
    assert (scores.argmax(axis=1) == best).mean() > 0.5


def test_too_few_choices_teach_nothing() -> None:
    given = Candidates(
        np.array([[1, 0]], dtype=np.int32),
        np.ones((1, 2), dtype=np.float32),
        np.ones((1, 2, 3), dtype=np.float32),
    )
    nothing = np.zeros((1, 2), dtype=np.bool_)
    assert Reranker.learn(given, nothing, seed=1, threads=2) is None


@pytest.mark.parametrize("most", [5, 19])
def test_too_few_candidates_are_refused(most: int) -> None:
    with pytest.raises(ValueError, match="greater than or equal to 20"):
        BlendSettings(rerank=True, candidates=most)


def test_features_of_a_million_candidates_are_scaled_by_their_mean_and_deviation() -> None:
    rng = np.random.default_rng(0)
    shape = 4, 400_000
    features = (5.3 + 0.2 * rng.random((*shape, 2))).astype(np.float32)
    item_idx = np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1))
    given = Candidates(item_idx, np.zeros(shape, dtype=np.float32), features)
    learned = Reranker.learn(given, item_idx == 0, seed=0, threads=2)
    assert learned is not None
    assert learned.mean[0] == pytest.approx(5.4, abs=1e-3)
    assert learned.deviation[0] == pytest.approx(0.2 / 12**0.5, rel=1e-2)


@pytest.mark.parametrize("days", [2, 40])
def test_items_have_as_many_facts_whatever_their_times(days: int) -> None:
    log = log_of([(user, item, float(user % days)) for user in range(60) for item in range(3)])
    train = training_set(log, every(log), AS_OF, FeedbackSettings())
    assert Facts.of(train).items.shape == (3, 6)


def test_facts_are_the_same_before_1970() -> None:
    rows = [(user, item, float(user % 40)) for user in range(60) for item in range(user % 3 + 1)]
    late, early = (
        Facts.of(training_set(log, every(log), AS_OF, FeedbackSettings())).items
        for log in (log_of([(u, i, d + since) for u, i, d in rows]) for since in (0.0, -9000.0))
    )
    np.testing.assert_allclose(early, late, rtol=1e-5)
