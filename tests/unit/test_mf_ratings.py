"""`mf` on ratings: what its vectors are drawn to, its batches, and the scale of the ratings."""

from __future__ import annotations

import numpy as np
import pytest

from logs import every, log_of
from recjobs.config import FeedbackSettings
from recjobs.dataset import TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models import FactorModel, RatingModel, make
from recjobs.models.mf import MfSettings
from recjobs.models.mf_ratings import RatingsTrainer
from recjobs.models.rated_sets import RatedSets
from recjobs.models.ratings import Ratings
from recjobs.models.warm import Start

_AS_OF = 400 * 86_400_000_000


def rated(rows: list[tuple[int, int, float]]) -> TrainingSet:
    log = log_of([(user, item, float(user), rating) for user, item, rating in rows])
    return training_set(log, every(log), _AS_OF, FeedbackSettings(kind="explicit"))


def taste(scale: float = 1.0, shift: float = 0.0) -> TrainingSet:
    """Users like the items of their own parity."""
    rng = np.random.default_rng(3)
    return rated(
        [
            (user, item, shift + scale * (5.0 if user % 2 == item % 2 else 1.0))
            for user in range(30)
            for item in range(30)
            if rng.random() < 0.6
        ]
    )


def test_the_expected_is_a_ridge_regression_on_who_rated_what() -> None:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(9, dtype=np.int32), 3)  # user 9 rated nothing
    item = rng.permuted(np.tile(np.arange(6, dtype=np.int32), (9, 1)), axis=1)[:, :3].ravel()
    sets = RatedSets(user, item, (10, 6))
    dense = np.zeros((10, 6))
    dense[user, item] = 1 / np.sqrt(3)
    vectors = rng.normal(size=(10, 4)).astype(np.float32)
    weights, expected = sets.start(4)
    for _ in range(10):
        weights, expected = sets.fitted(vectors, (weights, expected))
    ridge = np.linalg.solve(dense.T @ dense + 3 * np.eye(6), dense.T @ vectors)
    np.testing.assert_allclose(weights, ridge, atol=1e-5)
    np.testing.assert_allclose(expected, dense @ ridge, atol=1e-5)
    assert not expected[9].any()


def test_a_default_batch_holds_few_ratings_of_one_row() -> None:
    rows = [(user, item, 3.0) for user in range(300) for item in (0, 1 + user)]
    train = rated(rows)
    assert Ratings(train, None, 0).size == 256
    assert Ratings(train, None, 0, at_once=16).size == 32  # item 0 has half of all ratings
    assert Ratings(train, 7, 0, at_once=16).size == 7
    user, item, centred = Ratings(train, None, 0).shuffled()
    assert set(zip(user.tolist(), item.tolist(), strict=True)) == {
        (user, item) for user, item, _ in rows
    }
    assert not centred.any()


@pytest.mark.parametrize(("scale", "shift"), [(20.0, 0.0), (1.0, -3.0)])
def test_the_scale_of_ratings_does_not_matter(scale: float, shift: float) -> None:
    pairs = np.arange(30, dtype=np.int32), np.arange(30, dtype=np.int32)[::-1]
    found = []
    for train in (taste(), taste(scale, shift)):
        model = make("mf", {"embedding_dim": 4, "averaged": 1}, seed=1, threads=2)
        model.fit(train, epochs=15)
        assert isinstance(model, RatingModel)
        found.append(model.predict(*pairs))
    assert np.ptp(found[0]) > 0.5
    np.testing.assert_allclose(found[1], shift + scale * found[0], rtol=1e-3, atol=1e-3)


def test_the_mean_rating_is_no_likeness_of_users() -> None:
    vectors = []
    for train in (taste(), taste(shift=50.0)):
        model = make("mf", {"embedding_dim": 4, "averaged": 2}, seed=1, threads=2)
        model.fit(train, epochs=10)
        assert isinstance(model, FactorModel)
        vectors.append(model.tastes())
        assert vectors[-1].shape == (30, 8)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-3)


@pytest.mark.parametrize(("theirs", "ours"), [(1, 3), (3, 1), (2, 3)])
def test_every_fit_of_an_average_starts_warm(theirs: int, ours: int) -> None:
    train = taste()
    parent = make("mf", {"embedding_dim": 4, "averaged": theirs}, seed=1, threads=2)
    parent.fit(train, epochs=15)
    settings = MfSettings(embedding_dim=4, averaged=ours)
    trainer = RatingsTrainer(train, settings, seed=5, threads=2)
    trainer.start_from(Start.of(parent, train.users, train.items, train))
    users, items = trainer.vectors()
    for each in range(ours):
        columns = slice(4 * each, 4 * each + 4)
        taste_alone = users[:, columns] @ items[:, columns].T
        own = np.arange(30)[:, None] % 2 == np.arange(30) % 2
        assert taste_alone[own].mean() > taste_alone[~own].mean() + 0.3


@pytest.mark.parametrize("name", ["mf", "ncf"])
def test_a_fit_that_diverges_is_told(name: str) -> None:
    model = make(name, {"learning_rate": 1e30}, seed=1, threads=2)
    with pytest.raises(ConfigError, match=r"diverged.*Lower model\.params\.learning_rate"):
        model.fit(taste(), epochs=5)


def test_equal_ratings_are_predicted() -> None:
    train = rated([(user, item, 3.3) for user in range(5) for item in range(4)])
    model = make("mf", {}, seed=1, threads=2)
    model.fit(train, epochs=2)
    assert isinstance(model, RatingModel)
    everyone = np.arange(4, dtype=np.int32)
    np.testing.assert_allclose(model.predict(everyone, everyone), 3.3, atol=1e-5)
