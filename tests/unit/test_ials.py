"""Implicit ALS against dense linear algebra."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from logs import every, log_of
from recjobs import models
from recjobs.config import FeedbackSettings
from recjobs.dataset import TrainingSet, training_set
from recjobs.errors import ConfigError
from recjobs.models import ials_solver
from recjobs.models.base import strengths
from recjobs.models.ials import Ials, default_alpha0, default_l2
from recjobs.models.warm import Start

PARAMS: dict[str, Any] = {"embedding_dim": 4, "l2": 0.02, "alpha0": 0.1, "cg_steps": 4}


def some_set(seed: int = 0, n_users: int = 30, n_items: int = 12) -> TrainingSet:
    rng = np.random.default_rng(seed)
    rows = [
        (user, item, float(day), None, "buy")
        for user in range(n_users)
        for item in range(n_items)
        for day in range(rng.integers(0, 4) - 1)
    ]
    feedback = FeedbackSettings(event_weights={"buy": 1.0})
    log = log_of(rows, users=[n_users], items=[n_items])
    return training_set(log, every(log), 10**15, feedback)


def fitted(train: TrainingSet, **params: Any) -> Ials:
    model = models.make("ials", {**PARAMS, **params}, seed=1, threads=2)
    model.fit(train)
    assert isinstance(model, Ials)
    return model


def dense_solution(x: np.ndarray, others: np.ndarray, n_others: int) -> np.ndarray:
    """Each row's vector by the normal equations."""
    gram = PARAMS["alpha0"] * others.T @ others
    rows = []
    for weight in x:
        ridge = PARAMS["l2"] * (weight.sum() + PARAMS["alpha0"] * n_others)
        matrix = gram + others.T @ (weight[:, None] * others) + ridge * np.eye(others.shape[1])
        rows.append(np.linalg.solve(matrix, others.T @ weight))
    return np.array(rows)


def loss_of(x: np.ndarray, users: np.ndarray, items: np.ndarray) -> float:
    score = users @ items.T
    known_users, known_items = (x.sum(axis=axis) > 0 for axis in (1, 0))
    of_users = x.sum(axis=1) + PARAMS["alpha0"] * known_items.sum()
    of_items = x.sum(axis=0) + PARAMS["alpha0"] * known_users.sum()
    return float(
        (x * (1 - score) ** 2).sum()
        + PARAMS["alpha0"] * (score**2).sum()
        + PARAMS["l2"] * (of_users @ (users**2).sum(1) + of_items @ (items**2).sum(1))
    )


def test_users_are_the_least_squares_solution_given_the_items() -> None:
    train = some_set()
    model = fitted(train)
    x = strengths(train).toarray().astype(np.float64)
    users, items = model.factors()
    expected = dense_solution(x, items.astype(np.float64), 12)
    np.testing.assert_allclose(users, expected, atol=2e-4)
    assert not users[-1].any()  # nothing is known of this user,
    assert not items[-1].any()  # nor of this item


def test_epochs_end_where_alternating_exact_solutions_end() -> None:
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    users, items = fitted(train, epochs=300).factors()
    wanted_items = dense_solution(x.T, users.astype(np.float64), 30)
    np.testing.assert_allclose(users @ items.T, users @ wanted_items.T, atol=2e-3)


def test_the_loss_is_the_objective_and_falls() -> None:
    train = some_set()
    x = strengths(train).toarray().astype(np.float64)
    model = models.make("ials", {**PARAMS, "epochs": 30}, seed=1, threads=2)
    losses = [epoch.loss for epoch in model.fit(train).epochs]
    assert (np.diff(losses) <= 1e-6).all()
    assert isinstance(model, Ials)
    reached = loss_of(x, *(v.astype(np.float64) for v in model.factors())) / np.count_nonzero(x)
    assert losses[-1] == pytest.approx(reached, rel=0.01)


def test_a_new_user_folds_in_as_one_of_the_same_history() -> None:
    train = some_set()
    model = fitted(train)
    histories = strengths(train)[[3, 5]]
    np.testing.assert_allclose(model.fold_in(histories), model.user_vectors[[3, 5]], atol=2e-4)
    nobody = sparse.csr_matrix((1, train.n_items), dtype=np.float32)
    assert not model.fold_in(nobody).any()


def test_threads_do_not_change_the_vectors_of_a_row() -> None:
    train = some_set(n_users=700)
    one, two = (models.make("ials", PARAMS, seed=1, threads=threads) for threads in (1, 2))
    one.fit(train)
    two.fit(train)
    assert isinstance(one, Ials)
    assert isinstance(two, Ials)
    np.testing.assert_allclose(one.user_vectors, two.user_vectors, atol=1e-4)


def test_the_default_l2_goes_by_the_size_of_the_data() -> None:
    assert default_l2(3_700) == default_l2(500) == 0.007
    assert default_l2(41_000) == pytest.approx(0.0021, abs=1e-4)
    assert not np.allclose(*(fitted(some_set(), l2=l2).user_vectors for l2 in (None, 0.02)))


def test_the_default_alpha0_goes_by_how_expected_the_positives_are() -> None:
    rng = np.random.default_rng(5)
    alike = sparse.random(400, 300, density=0.05, rng=rng, format="csr")
    # All of one activity and popularity: the chance of a pair is the density.
    assert default_alpha0(alike) == pytest.approx(0.7 * 0.05 ** (2 / 3), rel=0.1)
    favourites = alike.toarray()
    favourites[:, :5] = 1  # which everybody has: a third as many pairs more
    assert default_alpha0(sparse.csr_matrix(favourites)) > 1.5 * default_alpha0(alike)
    assert default_alpha0(sparse.csr_matrix(np.ones((4, 3)))) == pytest.approx(0.7)
    lone = np.eye(50)
    lone[0] = lone[:, 0] = 1  # one user of all, one item of all: more than certain, by this count
    assert default_alpha0(sparse.csr_matrix(lone)) == pytest.approx(0.7)
    train = some_set()
    given = default_alpha0(strengths(train))
    told, itself = (fitted(train, alpha0=value).user_vectors for value in (given, None))
    np.testing.assert_array_equal(told, itself)


@pytest.mark.parametrize(
    "params",
    [
        {"l2": 1e-9}, {"l2": 1e4}, {"alpha0": 1e-30}, {"alpha0": 1e30},
        {"init_std": 1e-9}, {"init_std": 1e9},
    ],
)  # fmt: skip
def test_what_float32_can_not_solve_is_refused(params: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"model.params.{next(iter(params))}: Input should be "):
        models.check_params("ials", params)


@pytest.mark.parametrize("l2", [1e-6, 1e3])
@pytest.mark.parametrize("alpha0", [1e-9, 1e3])
@pytest.mark.parametrize("init_std", [1e-3, 100.0])
def test_vectors_are_finite_at_the_ends_of_the_ranges(
    l2: float, alpha0: float, init_std: float
) -> None:
    model = fitted(some_set(), embedding_dim=192, l2=l2, alpha0=alpha0, init_std=init_std)
    for vectors in model.factors():
        assert np.isfinite(vectors).all()
        assert vectors.any()


def test_a_row_of_hardly_any_weight_is_solved_too() -> None:
    rng = np.random.default_rng(3)
    others = rng.normal(size=(40, 8)).astype(np.float32)
    values, vectors = np.linalg.eigh(0.1 * others.T @ others)
    turned = np.ascontiguousarray(others @ vectors)  # where what all rows share is diagonal
    shared, ridge = values.astype(np.float32), np.full(4, 0.05, np.float32)
    indptr, items = np.arange(0, 21, 5), np.sort(rng.permuted(np.arange(40))[:20].reshape(4, 5))
    for halved in (0, 12, 24, 36):  # half-lives that nothing has been heard of them
        weight = np.full(20, 0.5**halved, dtype=np.float32)
        out = np.zeros((4, 8), dtype=np.float32)
        ials_solver.improve_rows(
            0, 4, indptr.astype(np.int64), items.ravel().astype(np.int32), weight, turned,
            shared, ridge, 20, out,
        )  # fmt: skip
        for row, own in enumerate(items):
            near = turned[own].astype(np.float64)
            matrix = np.diag(shared + ridge[row]) + weight[0] * near.T @ near
            exact = np.linalg.solve(matrix, weight[0] * near.sum(axis=0))
            np.testing.assert_allclose(out[row], exact, rtol=2e-3, atol=1e-4 * np.abs(exact).max())


def test_folds_in_after_loading(tmp_path: Path) -> None:
    train = some_set()
    model = fitted(train, l2=None, alpha0=None)
    model.save(tmp_path)
    loaded = models.load("ials", tmp_path)
    assert isinstance(loaded, Ials)
    np.testing.assert_array_equal(loaded.fold_in(strengths(train)), model.fold_in(strengths(train)))


def test_a_fit_on_more_rows_goes_on_to_the_loss_of_one_from_scratch() -> None:
    more = some_set()
    log, rows = more.log, every(more.log)
    rows[::7] = False  # held out
    less = training_set(log, rows, more.as_of, FeedbackSettings(event_weights={"buy": 1.0}))
    judged = fitted(less, epochs=40)
    model = models.make("ials", PARAMS, seed=1, threads=2)
    model.start = Start.of(judged, log.users, log.items, more)
    losses = [epoch.loss for epoch in model.fit(more, epochs=10).epochs]
    scratch = models.make("ials", PARAMS, seed=1, threads=2).fit(more, epochs=10)
    best = models.make("ials", PARAMS, seed=1, threads=2).fit(more, epochs=80).epochs[-1].loss
    assert losses[0] < scratch.epochs[1].loss
    assert losses[-1] == pytest.approx(best, rel=0.01)


def test_rows_of_many_positives_are_solved_together_as_alone() -> None:
    rng = np.random.default_rng(0)
    n_others, dim = 40_000, 64  # beyond what is asked for at a time
    others = rng.standard_normal((n_others, dim), dtype=np.float32) / 8
    lengths = [30_000, 12_345, 2_100, 7, 0, 3_001]
    rows = [np.sort(rng.choice(n_others, n, replace=False)) for n in lengths]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    indices = np.concatenate(rows).astype(np.int32)
    weight = rng.uniform(0.5, 2, indptr[-1]).astype(np.float32)
    shared = np.linspace(1, 900, dim).astype(np.float32)
    ridge = np.full(len(lengths), 5, dtype=np.float32)

    def improved(bounds: list[int]) -> np.ndarray:
        out = np.ones((len(lengths), dim), dtype=np.float32)
        for first, last in itertools.pairwise(bounds):
            ials_solver.improve_rows(
                first, last, indptr, indices, weight, others, shared, ridge, dim, out
            )
        return out

    together = improved([0, 6])
    np.testing.assert_array_equal(improved([0, 1, 2, 3, 4, 5, 6]), together)
    for r, row in enumerate(rows):
        h, w = others[row].astype(np.float64), weight[indptr[r] : indptr[r + 1]]
        matrix = np.diag(shared + ridge[r]) + h.T @ (w[:, None] * h)
        np.testing.assert_allclose(together[r], np.linalg.solve(matrix, h.T @ w), atol=1e-4)


def test_unknown_items_say_nothing_of_who_is_folded_in() -> None:
    train = some_set()
    model = fitted(train)
    histories = strengths(train)[[3, 5]]
    more = histories.tolil()
    more[:, 12] = 7.0  # of which nothing is known
    np.testing.assert_array_equal(model.fold_in(more.tocsr()), model.fold_in(histories))
