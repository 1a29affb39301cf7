"""The train and refit stages: what is fitted on what, and for how many epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from logs import log_of, settings_of
from recjobs import models, train
from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY as DAY
from recjobs.config import HoldoutSettings
from recjobs.dataset import Interactions, TrainingSet
from recjobs.files import read_json
from recjobs.models.base import Epoch, History
from recjobs.models.popular import Popular
from recjobs.progress import silent
from recjobs.split import split

AS_OF = 50 * DAY


@pytest.fixture
def log() -> Interactions:
    rng = np.random.default_rng(1)
    rows = [
        (user, int(item), float(day))
        for user in range(30)
        for item, day in zip(rng.permutation(20)[:8], rng.integers(0, 50, 8), strict=True)
    ]
    return log_of(rows)


class Recorder(Popular):
    """Records what it is fitted on; its best epoch is the third."""

    selects_epochs = True
    fits: list[tuple[int, int | None, int | None]] = []  # noqa: RUF012 (shared on purpose)

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Any = silent,
    ) -> History:
        self.fits.append((train.n_pairs, validation and validation.n_pairs, epochs))
        super().fit(train)
        progress(1.0)
        number = epochs or 5
        return History(tuple(Epoch(n + 1, 1.0, 0.1) for n in range(number)), 3, "ndcg@10")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None, int | None]]:
    monkeypatch.setattr(Recorder, "fits", [])
    monkeypatch.setattr(models, "model_class", lambda name: Recorder)
    return Recorder.fits


def test_epochs_are_found_on_validation_then_all_training_rows_are_fitted(
    log: Interactions, recorder: list[Any], tmp_path: Path
) -> None:
    parts = split(log, HoldoutSettings(), AS_OF)
    out = StageOutput(tmp_path)
    train.train(log, parts, settings_of(), out, silent)
    assert Recorder.fits == [
        (int(parts.fit.sum()), int(parts.validation.sum()), None),
        (int(parts.training.sum()), None, 3),
    ]
    assert out.summary["best_epoch"] == 3
    assert out.summary["epochs"] == 5
    history = read_json(tmp_path / "history.json")
    assert history["best_epoch"] == 3
    assert history["metric"] == "ndcg@10"
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3, 4, 5]


def test_refit_takes_all_rows_for_the_epochs_found(
    log: Interactions, recorder: list[Any], tmp_path: Path
) -> None:
    train.refit(log, AS_OF, 3, {}, settings_of(), StageOutput(tmp_path), silent)
    assert Recorder.fits == [(len(log), None, 3)]


def test_a_closed_form_is_fitted_once(log: Interactions, tmp_path: Path) -> None:
    parts = split(log, HoldoutSettings(), AS_OF)
    out = StageOutput(tmp_path)
    train.train(log, parts, settings_of(model={"name": "item_knn"}), out, silent)
    assert out.summary["best_epoch"] is None
    assert out.summary["epochs"] == 0
    assert read_json(tmp_path / "history.json")["epochs"] == []
    train.refit(log, AS_OF, None, {}, settings_of(model={"name": "item_knn"}), out, silent)


@pytest.mark.parametrize(
    ("name", "feedback", "metric"),
    [("mf", {}, "ndcg@10"), ("ncf", {"kind": "explicit", "positive_at": 4.0}, "rmse")],
)
def test_learned_models_leave_their_history(
    tmp_path: Path, name: str, feedback: dict[str, Any], metric: str
) -> None:
    rng = np.random.default_rng(1)
    rows = [
        (user, int(item), float(day), float(rng.integers(1, 6)))
        for user in range(30)
        for item, day in zip(rng.permutation(20)[:8], rng.integers(0, 50, 8), strict=True)
    ]
    log = log_of(rows)
    out = StageOutput(tmp_path)
    settings = settings_of(
        model={"name": name, "params": {"epochs": 6, "embedding_dim": 4}}, feedback=feedback
    )
    model = train.train(log, split(log, settings.holdout, AS_OF), settings, out, silent)
    history = read_json(tmp_path / "history.json")
    values = [epoch["validation"] for epoch in history["epochs"]]
    best = (np.argmin if metric == "rmse" else np.argmax)(values) + 1
    assert history["metric"] == metric
    assert history["best_epoch"] == out.summary["best_epoch"] == best
    loaded = models.load(name, tmp_path / "model")
    np.testing.assert_array_equal(loaded.known_users, model.known_users)


def test_the_evaluated_model_does_not_see_the_holdout(log: Interactions, tmp_path: Path) -> None:
    parts = split(log, HoldoutSettings(), AS_OF)
    settings = settings_of(model={"name": "ease"})
    one = train.train(log, parts, settings, StageOutput(tmp_path / "a"), silent)
    # Other rows in the holdout, the same model.
    log.item_idx[parts.holdout] = 0
    other = train.train(log, parts, settings, StageOutput(tmp_path / "b"), silent)
    users = np.flatnonzero(one.known_users).astype(np.int32)
    assert isinstance(one, models.BlockModel)
    assert isinstance(other, models.BlockModel)
    np.testing.assert_array_equal(one.score_block(users), other.score_block(users))


def test_progress_does_not_go_back(log: Interactions, tmp_path: Path) -> None:
    reports: list[float] = []

    def progress(done: float, note: str = "") -> None:
        reports.append(done)

    settings = settings_of(model={"name": "mf", "params": {"epochs": 3, "embedding_dim": 4}})
    parts = split(log, HoldoutSettings(), AS_OF)
    train.train(log, parts, settings, StageOutput(tmp_path), progress)
    assert reports == sorted(reports)
    assert reports[-1] == 1.0


class Heir(Recorder):
    """Records what it starts from too."""

    warm_starts = True
    starts: list[Any] = []  # noqa: RUF012 (shared on purpose)

    def fit(self, train: TrainingSet, **given: Any) -> History:
        self.starts.append(self.start)
        return super().fit(train, **given)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch, log: Interactions) -> train.Parent:
    monkeypatch.setattr(Recorder, "fits", [])
    monkeypatch.setattr(Heir, "starts", [])
    monkeypatch.setattr(models, "model_class", lambda name: Heir)
    model = models.make("heir", {}, seed=1, threads=1)
    model.known_users = np.ones(len(log.users), dtype=np.bool_)
    model.known_items = np.arange(len(log.items)) != 2
    return train.Parent(model, log.users, log.items, 8)


def test_a_warm_night_is_fitted_once_on_all_training_rows_without_validation(
    log: Interactions, parent: train.Parent, tmp_path: Path
) -> None:
    parts = split(log, HoldoutSettings(), AS_OF)
    out = StageOutput(tmp_path)
    train.train(log, parts, settings_of(), out, silent, parent=parent)
    assert Recorder.fits == [(int(parts.training.sum()), None, 3)]
    (start,) = Heir.starts
    assert start.model is parent.model
    assert start.users.tolist() == list(range(len(log.users)))
    assert start.items.tolist() == [n if n != 2 else -1 for n in range(len(log.items))]
    # The next night's epochs are a share of the cold fit's too, and not of this one's.
    assert (out.summary["best_epoch"], out.summary["epochs"]) == (8, 3)
    train.refit(log, AS_OF, 8, {}, settings_of(), out, silent, parent=parent)
    assert Recorder.fits[1:] == [(len(log), None, 3)]


def test_a_control_is_fitted_from_scratch_and_leaves_the_warm_model_beside_it(
    log: Interactions, parent: train.Parent, tmp_path: Path
) -> None:
    parts = split(log, HoldoutSettings(), AS_OF)
    out = StageOutput(tmp_path)
    reports: list[float] = []
    train.train(
        log,
        parts,
        settings_of(),
        out,
        lambda done, note="": reports.append(done),
        parent=parent,
        control=True,
    )
    assert reports == sorted(reports)
    fit, validation, training = (
        int(getattr(parts, n).sum()) for n in ("fit", "validation", "training")
    )
    assert Recorder.fits == [(training, None, 3), (fit, validation, None), (training, None, 3)]
    assert [start is not None for start in Heir.starts] == [True, False, False]
    assert out.summary["best_epoch"] == 3
    assert (tmp_path / "warm" / "model.json").exists()


def test_a_scoring_model_goes_on_from_the_judged_one_for_a_few_epochs(
    log: Interactions, parent: train.Parent, tmp_path: Path
) -> None:
    train.refit(log, AS_OF, None, {}, settings_of(), StageOutput(tmp_path), silent, judged=parent)
    assert Recorder.fits == [(len(log), None, 2)]
    (start,) = Heir.starts
    assert (start.model, start.kept) == (parent.model, 1.0)
