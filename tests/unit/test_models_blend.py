"""The blend: its scores against a plain sum, its weights, and what a refit takes over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from logs import every, log_of, sets
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import Interactions, training_set
from recjobs.errors import ConfigError
from recjobs.models.blend import Blend, BlendSettings
from recjobs.models.comparable import SCALES

AS_OF = 400 * 86_400_000_000
PARTS = {"ease": {"l2": 1.0}, "popular": {}}


def groups(users: int = 60, items: int = 30) -> Interactions:
    """Users choose among a third of the items; each one's last choice is of it too."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(users):
        chosen = rng.permutation(np.arange(user % 3, items, 3))[:7]
        rows += [(user, int(item), float(day)) for day, item in enumerate(chosen)]
    return log_of(rows)


def blend(**settings: object) -> Blend:
    return Blend(BlendSettings.model_validate({"models": PARTS, **settings}), seed=1, threads=2)


def test_scores_are_the_weighted_standard_scores() -> None:
    train, _ = sets(groups())
    model = blend()
    model.choices = {"weights": {"ease": 0.75, "popular": 0.25}, "epochs": {}}
    model.fit(train, epochs=1)
    users = np.arange(train.n_users, dtype=np.int32)
    expected = np.zeros((train.n_users, train.n_items))
    for weight, (name, part) in zip((0.75, 0.25), model.parts.items(), strict=True):
        assert part.name == name
        scores = (
            part.score_block(users)
            if isinstance(part, models.BlockModel)
            else np.matmul(part.factors()[0], part.factors()[1].T)
        ).astype(np.float64)
        scores[np.isneginf(scores)] = 0  # nothing is said of the item
        centred = scores - scores.mean(axis=1, keepdims=True)
        expected += weight * centred / np.maximum(scores.std(axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(model.score_block(users), expected, atol=1e-4)


def test_a_rank_counts_by_its_place() -> None:
    train, _ = sets(groups())
    model = blend(scale="rank")
    model.choices = {"weights": {"ease": 1.0, "popular": 0.0}, "epochs": {}}
    model.fit(train, epochs=1)
    users = np.arange(5, dtype=np.int32)
    ease = model.parts["ease"]
    assert isinstance(ease, models.BlockModel)
    scores = np.nan_to_num(ease.score_block(users), neginf=0.0)  # nothing is said of the item
    as_good = (scores[:, None, :] >= scores[:, :, None]).sum(axis=2)  # the last rank of equals
    np.testing.assert_allclose(model.score_block(users), 1 / (60 + as_good), rtol=1e-5)


def test_the_better_model_weighs_more_and_a_refit_takes_the_weights_over(tmp_path: Path) -> None:
    train, validation = sets(groups())
    chosen = blend()
    history = chosen.fit(train, validation=validation)
    assert history.best_epoch == 1
    weights = chosen.choices["weights"]
    assert weights["ease"] > 0.8
    assert sum(weights.values()) == pytest.approx(1)
    refitted = blend()
    refitted.choices = chosen.choices
    refitted.fit(train, epochs=1)
    np.testing.assert_array_equal(refitted.weights, chosen.weights)
    refitted.save(tmp_path)
    assert (tmp_path / "ease" / "arrays.npz").exists()


def test_without_a_validation_part_all_count_the_same() -> None:
    train, _ = sets(groups())
    model = blend()
    model.fit(train)
    assert model.weights.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"ease": {}}, "two other models"),
        ({"ease": {}, "blend": {}}, "two other models"),
        ({"ease": {}, "eas": {}}, "did you mean 'ease'"),
        ({"ease": {"l": 1}, "ials": {}}, "no such hyperparameter"),
    ],
)
def test_what_can_not_be_blended_is_named(parts: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models.check_params("blend", {"models": parts})


def test_ratings_are_ranked_by_what_is_a_positive() -> None:
    chosen = [(user, range(user % 3, 24, 2)) for user in range(12)]
    log = log_of(
        [
            (user, item, float(day), 5.0 - 4 * ((user + item) % 2))
            for user, items in chosen
            for day, item in enumerate(items)
        ]
    )
    feedback = FeedbackSettings(kind="explicit", positive_at=4)
    newest = log.ts >= np.quantile(log.ts, 0.8)
    train, validation = (training_set(log, rows, AS_OF, feedback) for rows in (~newest, newest))
    model = blend(models={"mf": {"epochs": 5}, "item_knn": {}})
    model.fit(train, validation=validation)
    assert model.rating_range is None
    assert sum(model.choices["weights"].values()) == pytest.approx(1)
    assert model.choices["epochs"]["mf"] is not None


def test_the_order_of_the_models_does_not_matter(tmp_path: Path) -> None:
    train, validation = sets(groups())
    users = np.arange(train.n_users, dtype=np.int32)
    found = []
    for parts in (PARTS, dict(reversed(PARTS.items()))):
        model = blend(models=parts)
        model.fit(train, validation=validation)
        model.save(tmp_path / next(iter(parts)))
        loaded = models.load("blend", tmp_path / next(iter(parts)))
        assert isinstance(loaded, Blend)
        assert loaded.weights[0] > loaded.weights[1]  # of ease
        found += [model.score_block(users), loaded.score_block(users)]
    for scores in found[1:]:
        np.testing.assert_array_equal(scores, found[0])


def test_who_is_known_to_a_model_without_a_say_is_not_known() -> None:
    log = log_of([*((u, i, 0.0, 5.0) for u in range(4) for i in range(3)), (9, 0, 0.0, 1.0)])
    train = training_set(log, every(log), AS_OF, FeedbackSettings(positive_at=4.0))
    model = blend()
    model.choices = {"weights": {"ease": 1.0, "popular": 0.0}, "epochs": {}}
    model.fit(train, epochs=1)
    assert model.parts["popular"].known_users.tolist() == [True] * 5
    assert model.known_users.tolist() == [True] * 4 + [False]


def test_no_opinion_is_no_high_rank() -> None:
    scores = np.array([[0.0, 0.0, 3.0, 0.0, 1.0]], dtype=np.float32)
    ranks = 1 / SCALES["rank"](scores) - 60
    np.testing.assert_allclose(ranks, [[5, 5, 1, 5, 2]], rtol=1e-5)


def test_reasons_are_of_a_model_with_a_say() -> None:
    train, _ = sets(groups())
    for weight, related in ((0.1, True), (0.0, False)):
        model = blend()
        model.choices = {"weights": {"ease": weight, "popular": 1 - weight}, "epochs": {}}
        model.fit(train, epochs=1)
        assert (model.relation() is not None) == related


def test_where_nobody_judges_all_models_weigh_the_same() -> None:
    train, validation = sets(groups())
    chosen = blend(judged_users=0, scale="rank")
    chosen.fit(train, validation=validation)
    assert chosen.choices["weights"] == {"ease": 0.5, "popular": 0.5}
    users = np.arange(5, dtype=np.int32)
    parts = [chosen._scaled(number, users) for number in range(2)]
    scores = chosen.score_block(users)
    known = np.broadcast_to(chosen.known_items, scores.shape)
    np.testing.assert_allclose(scores[known], (sum(parts) / 2)[known], rtol=1e-5)


def test_a_reranker_needs_judges() -> None:
    with pytest.raises(ValueError, match="judged_users: expected more than 0"):
        blend(judged_users=0, rerank=True)
