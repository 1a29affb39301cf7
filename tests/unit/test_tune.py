"""Tuning without a database: folds, spaces, and the trials of a small log."""

from __future__ import annotations

import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logs import DAY, log_of, rows, settings_of
from recjobs import models
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.errors import ConfigError, DataError
from recjobs.models import REGISTRY, check_params
from recjobs.models.training import train_epochs
from recjobs.progress import silent
from recjobs.split import split
from recjobs.tune import Budget, Outcome, Snapshot, tune
from recjobs.tune.folds import folds_of
from recjobs.tune.pruning import same_step_pruner
from recjobs.tune.spaces import SPACES, Choice, Range, space_of, within

AS_OF = 40 * DAY


def taste() -> Interactions:
    """Users choose mostly among the items of their own colour, some each day."""
    rng = np.random.default_rng(3)
    drawn = set()
    for user in range(60):
        for day in rng.integers(0, 40, 20):
            colour = user % 3 if rng.random() < 0.9 else int(rng.integers(3))
            drawn.add((user, 3 * int(rng.integers(15)) + colour, float(day)))
    return log_of(sorted(drawn))


def job(name: str = "item_knn", params: dict[str, Any] | None = None, **sections: Any) -> Settings:
    holdout = {"kind": "global_time", "days": 5}
    model = {"name": name, "params": params or {}}
    return settings_of(**{"model": model, "holdout": holdout, **sections})


def tuned(folder: Path, settings: Settings, trials: int, **given: Any) -> tuple[Outcome, list[str]]:
    told: list[str] = []
    data = Snapshot(taste(), AS_OF, SimpleNamespace(run_id=1), "digest")  # type: ignore[arg-type]
    words = {"metric": "ndcg@10", "n_folds": 2, "budget": Budget(trials, 10.0)} | given
    return tune(settings, data, folder=folder, tell=told.append, **words), told


@given(rows=rows(min_rows=1, days=30), kind=st.sampled_from(["global_time", "last_per_user"]))
def test_no_fold_sees_the_holdout(rows: list[Any], kind: str) -> None:
    log = log_of([(u, i, day, 5.0, event) for u, i, day, _, event in rows])
    settings = job(holdout={"kind": kind, "days": 4})
    try:
        outer = split(log, settings.holdout, AS_OF)
        folds = folds_of(log, AS_OF, settings, 3)
    except DataError:
        return

    def pairs(part: Interactions, chosen: Any) -> list[tuple[int, ...]]:
        columns = (part.user_idx, part.item_idx, part.ts, part.event)
        return sorted(tuple(int(v) for v in row) for row in np.column_stack(columns)[chosen])

    known = pairs(log, outer.training)
    for fold in folds:
        everything = np.ones(len(fold.log), dtype=np.bool_)
        assert pairs(fold.log, everything) == known
        assert len(fold.judged.users)
        if kind == "global_time":
            assert fold.log.ts.max() < outer.cutoff
            assert fold.log.ts[fold.split.training].max() < fold.split.cutoff
        known = pairs(fold.log, fold.split.training)


def test_fewer_folds_where_the_log_is_short() -> None:
    log = taste()
    assert len(folds_of(log, AS_OF, job(), 3)) == 3
    assert len(folds_of(log, AS_OF, job(holdout={"days": 12}), 5)) == 2
    with pytest.raises(DataError, match="leaves no rows"):
        folds_of(log, AS_OF, job(holdout={"days": 21}), 1)


@pytest.mark.parametrize("model", sorted(SPACES.keys() & REGISTRY.keys()))
def test_spaces_hold_what_the_models_take(model: str) -> None:
    defaults = check_params(model, {}).model_dump()
    for name, each in SPACES[model].items():
        ends = each.values if isinstance(each, Choice) else (each.low, each.high)
        for value in ends:
            check_params(model, {name: value})
        assert defaults[name] is None or defaults[name] in each, name
        if isinstance(each, Range) and each.log:
            assert each.low > 0


def test_a_model_without_a_space_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="mystery has no search space; known: blend, content, ease"
    ):
        space_of("mystery", {})
    assert within(space_of("ease", {}), {"l2": None, "more": 1}) == {}


def test_a_blend_is_tuned_with_its_models(tmp_path: Path) -> None:
    parts = {"ease": {"l2": 2.0}, "popular": {}}
    settings = job("blend", params={"models": parts})
    space = space_of("blend", settings.model.params)
    assert set(space) == {
        "scale", "rerank", "models.ease.l2", "models.popular.half_life_days"
    }  # fmt: skip
    assert set(space) - set(space_of("blend", {"models": parts, "judged_users": 0})) == {"rerank"}
    found, _ = tuned(tmp_path, settings, 3)
    assert found.trials[0]["params"] == {"models": parts, "scale": "z", "rerank": False}
    assert found.before is not None
    tried = found.trials[1]["params"]["models"]
    assert tried["ease"]["l2"] != 2.0
    assert tried["popular"]["half_life_days"] > 0
    section = tomllib.loads(found.fragment)["model"]
    assert section["params"] == found.params
    check_params("blend", section["params"])


def test_the_settings_as_they_are_come_first_and_the_best_is_a_fragment(tmp_path: Path) -> None:
    settings = job(params={"shrinkage": 400.0, "neighbours": 21})
    found, told = tuned(tmp_path, settings, 6)
    first = found.trials[0]
    assert first["params"] == {"neighbours": 21, "shrinkage": 400.0}
    assert first["value"] == found.before
    assert "the settings as they are" in told[0]
    assert len(found.trials) == len(told) == 6
    values = [trial["value"] for trial in found.trials if trial["value"] is not None]
    assert found.best == max(values)
    assert (found.folds, len(found.users)) == (2, 2)
    section = tomllib.loads(found.fragment)["model"]
    assert section == {"name": "item_knn", "params": found.params}
    check_params(section["name"], section["params"])


def test_the_settings_as_they_are_are_not_rounded(tmp_path: Path) -> None:
    params = {"shrinkage": 123.456789, "neighbours": 21}
    found, _ = tuned(tmp_path, job(params=params), 2)
    assert found.trials[0]["params"] == params
    tried = found.trials[1]["params"]["shrinkage"]
    assert tried == float(f"{tried:.3g}")


def test_trials_are_stored_and_go_on(tmp_path: Path) -> None:
    settings = job("ease")
    first, _ = tuned(tmp_path, settings, 2)
    assert first.trials[0]["params"] == {}  # l2 by the data: there is no value to suggest
    again, told = tuned(tmp_path, settings, 4)
    assert [trial["number"] for trial in again.trials] == [0, 1, 2, 3]
    assert again.trials[:2] == first.trials
    assert len(told) == 2
    assert len({trial["params"].get("l2") for trial in again.trials}) == 4
    done, told = tuned(tmp_path, settings, 4)
    assert (done.trials, told) == (again.trials, [])
    other, told = tuned(tmp_path, job("ease", holdout={"days": 6}), 1)
    assert len(other.trials) == len(told) == 1  # another holdout: another study
    assert other.journal != again.journal


def test_lists_are_judged_as_they_are_re_ranked(tmp_path: Path) -> None:
    plain, _ = tuned(tmp_path, job(), 1)
    other, _ = tuned(tmp_path, job(rerank={"popularity": 1.0}), 1)
    assert other.best < plain.best
    assert other.journal != plain.journal
    with pytest.raises(ConfigError, match=r"rerank\.calibration keeps the shares"):
        tuned(tmp_path, job(rerank={"calibration": 1.0}), 1)


def test_trials_on_other_users_are_another_study(tmp_path: Path) -> None:
    everyone, _ = tuned(tmp_path, job(), 1)
    settings = job(evaluate={"max_users": 20}, gate={"min_users": 5})
    few, told = tuned(tmp_path, settings, 1)
    assert max(few.users) <= 20 < min(everyone.users)
    assert len(told) == 1
    assert few.journal != everyone.journal


def test_trials_of_another_instant_are_another_study(tmp_path: Path) -> None:
    def before(as_of: int, folder: Path) -> tuple[float | None, Path]:
        data = Snapshot(taste(), as_of, SimpleNamespace(run_id=1), "d")  # type: ignore[arg-type]
        found = tune(
            job(), data, metric="ndcg@10", n_folds=2, budget=Budget(1, 10.0), folder=folder,
            tell=lambda _: None,
        )  # fmt: skip
        return found.before, found.journal

    now, journal = before(AS_OF, tmp_path)
    later, other = before(AS_OF + 3 * DAY, tmp_path)  # no row is newer: the same files
    assert journal != other
    assert later == before(AS_OF + 3 * DAY, tmp_path / "alone")[0] != now


def test_the_settings_as_they_are_come_again_where_they_did_not_end(tmp_path: Path) -> None:
    settings = job()
    with pytest.raises(ConfigError, match="could be judged: the time was over"):
        tuned(tmp_path, settings, 2, budget=Budget(2, 0.0))
    found, told = tuned(tmp_path, settings, 1)
    assert "the settings as they are" in told[0]
    assert found.before == found.best


def test_a_fit_ends_with_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*args: Any, progress: Any, **given: Any) -> None:
        while True:
            progress(0.5)

    monkeypatch.setattr(models.model_class("item_knn"), "fit", endless)
    with pytest.raises(ConfigError, match="the time was over"):
        tuned(tmp_path, job(), 2, budget=Budget(2, 0.01))


def test_what_can_not_be_fitted_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = models.model_class("ease")
    fit = cls.fit

    def refuse(model: Any, *args: Any, **given: Any) -> Any:
        if model.settings.l2 is not None:
            raise ConfigError("ease: it does not fit")
        return fit(model, *args, **given)

    monkeypatch.setattr(cls, "fit", refuse)
    found, told = tuned(tmp_path, job("ease"), 3)
    assert [trial["state"] for trial in found.trials] == ["complete", "fail", "fail"]
    assert told[1].startswith("trial 1: fail  l2 = ")
    assert told[1].endswith(": ease: it does not fit")
    assert found.params == {}
    with pytest.raises(ConfigError, match="could be judged: ease: it does not fit"):
        tuned(tmp_path, job("ease", params={"l2": 3.0}), 2)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_is_worse_than_most_at_the_same_step_is_pruned(direction: str) -> None:
    study = optuna.create_study(direction=direction, pruner=same_step_pruner(optuna))
    sign = 1 if direction == "maximize" else -1

    def pruned(value: float, step: int) -> bool:
        trial = study.ask()
        trial.report(sign * 100.0, 1)  # of another kind: not compared
        trial.report(sign * value, step)
        return trial.should_prune()

    assert [pruned(value, 5) for value in (4.0, 3.0, 2.0, 1.0)] == [False] * 4
    assert pruned(2.4, 5)
    assert not pruned(2.6, 5)
    assert [pruned(value, 2) for value in (4.0, 3.0, 2.0, 1.0, 0.0)] == [False] * 5  # warming up


def test_epochs_are_told_and_may_end_the_fit() -> None:
    class Watch:
        told: list[tuple[int, str, float]] = []  # noqa: RUF012 (of this test alone)

        def __call__(self, done: float, note: str = "") -> None:
            pass

        def epoch(self, number: int, metric: str, value: float) -> None:
            self.told.append((number, metric, value))
            if number == 3:
                raise optuna.TrialPruned

    measured = iter([0.1, 0.2, 0.3, 0.4])
    words: dict[str, Any] = {"epochs": 4, "metric": "ndcg@10"}
    with pytest.raises(optuna.TrialPruned):
        train_epochs(
            lambda _: 1.0, lambda: next(measured), lambda: lambda: None, progress=Watch(), **words
        )
    assert Watch.told == [(1, "ndcg@10", 0.1), (2, "ndcg@10", 0.2), (3, "ndcg@10", 0.3)]
    train_epochs(lambda _: 1.0, None, lambda: lambda: None, progress=silent, **words)


def test_a_learned_model_and_ratings(tmp_path: Path) -> None:
    log = taste()
    rated = log_of(
        [(int(u), int(i), t / DAY, float(1 + (u + i) % 5)) for u, i, t in
         zip(log.user_idx, log.item_idx, log.ts, strict=True)]
    )  # fmt: skip
    settings = job("mf", {"epochs": 2, "embedding_dim": 32}, feedback={"kind": "explicit"})
    data = Snapshot(rated, AS_OF, SimpleNamespace(run_id=1), "d")  # type: ignore[arg-type]
    found = tune(
        settings, data, metric="rmse", n_folds=1, budget=Budget(2, 10.0), folder=tmp_path,
        tell=lambda _: None,
    )  # fmt: skip
    values = [trial["value"] for trial in found.trials]
    assert found.best == min(values) == pytest.approx(1.4, abs=0.5)
    assert found.params["epochs"] == 2


@pytest.mark.parametrize(("model", "kind"), [("item_knn", "explicit"), ("mf", "implicit")])
def test_ratings_that_are_not_predicted_are_refused_before_any_fit(
    tmp_path: Path, model: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.model_class(model), "fit", None)
    settings = job(model, feedback={"kind": kind})
    with pytest.raises(ConfigError, match=f"{model} predicts no ratings with .* '{kind}'"):
        tuned(tmp_path / "trials", settings, 4, metric="rmse")
    assert not (tmp_path / "trials").exists()


def test_trials_are_not_stored_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--folder: the folder .*file/tune can't be made: Not a"):
        tuned(tmp_path / "file" / "tune", job(), 1)
