"""The trials: stored as they end, the settings as they are first, pruned, within a budget."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recjobs.config import Settings
from recjobs.errors import ConfigError
from recjobs.files import make_folder
from recjobs.models import check_params
from recjobs.tune.folds import Fold, check_metric, folds_of, judge, make
from recjobs.tune.outcome import Outcome, as_it_is, line, outcome
from recjobs.tune.pruning import FOLD_STEPS, OutOfTimeError, Watch, report, same_step_pruner
from recjobs.tune.snapshot import Snapshot
from recjobs.tune.spaces import Space, placed, space_of, within
from recjobs.version import code_version

if TYPE_CHECKING:
    from optuna import Study, Trial

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Budget:
    """When to stop.

    Attributes:
        trials: So many in all, those of earlier calls among them.
        minutes: No longer than this.
    """

    trials: int
    minutes: float


def tune(
    settings: Settings,
    data: Snapshot,
    *,
    metric: str,
    n_folds: int,
    budget: Budget,
    folder: Path,
    tell: Tell,
) -> Outcome:
    """Try hyperparameters of the job's model; the same call goes on where the last one stopped.

    Args:
        settings: Of the job; ``[model]`` is where the trials start from.
        data: The log.
        metric: Of the evaluation, such as ``ndcg@10``; or ``rmse``.
        n_folds: Windows to judge on.
        budget: When to stop.
        folder: Where the trials are stored.
        tell: Told of each trial that ends.

    Raises:
        ConfigError: The model has no search space, the metric does not suit it, the folder can't
            be made, or no trial could be fitted.
        DataError: The log leaves no fold.
    """
    import optuna

    until = time.monotonic() + 60 * budget.minutes
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    check_metric(settings, metric)
    space = space_of(settings.model.name, settings.model.params)
    folds = folds_of(data.log, data.as_of, settings, n_folds)
    before = check_params(settings.model.name, settings.model.params).model_dump(mode="json")
    fixed = within(space, before)
    journal = folder / f"{_study_name(settings, data, metric, len(folds), space)}.journal"
    make_folder(folder, "--folder")
    study = _open(optuna, journal, metric, settings.job.seed)
    if not any(
        as_it_is(each) and each.state.name in ("COMPLETE", "WAITING") for each in study.trials
    ):
        study.enqueue_trial(fixed, user_attrs={"as_it_is": True})

    def objective(trial: Trial) -> float:
        params = placed(settings.model.params, _suggested(trial, space, fixed))
        trial.set_user_attr("model_params", params)
        try:
            return _value(trial, params, folds, settings, metric, until)
        except ConfigError as error:
            trial.set_user_attr("why", str(error))
            raise

    left = budget.trials - sum(each.state.name in ("COMPLETE", "PRUNED") for each in study.trials)
    if left > 0:
        study.optimize(
            objective,
            n_trials=left,
            timeout=max(until - time.monotonic(), 0.0),
            catch=(ConfigError, OutOfTimeError),
            callbacks=[lambda _, trial: tell(line(trial, metric))],
        )
    return outcome(study, settings, metric, folds, journal)


def _open(optuna: Any, journal: Path, metric: str, seed: int) -> Study:
    """Return the study that is stored there, or a new one."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(journal)))
    study: Study = optuna.create_study(
        study_name=journal.stem,
        storage=storage,
        load_if_exists=True,
        direction="minimize" if metric == "rmse" else "maximize",
        pruner=same_step_pruner(optuna),
    )
    # Another seed after each stop: with the same one the same values would be suggested again.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    return study


def _value(
    trial: Trial,
    params: dict[str, Any],
    folds: Sequence[Fold],
    settings: Settings,
    metric: str,
    until: float,
) -> float:
    """Return the mean over the folds."""
    values: list[float] = []
    for number, fold in enumerate(folds):
        watch = Watch(trial, number, metric, until)
        values.append(judge(fold, make(settings, params), settings, metric, watch))
        if number + 1 < len(folds):
            report(trial, sum(values) / len(values), (number + 1) * FOLD_STEPS - 1)
    return sum(values) / len(values)


def _suggested(trial: Trial, space: Space, fixed: dict[str, Any]) -> dict[str, Any]:
    """Return the trial's hyperparameters; those of the settings as they are stay unrounded."""
    kept = as_it_is(trial)
    suggested = {name: space[name].suggest(trial, name) for name in (fixed if kept else space)}
    return fixed if kept else suggested


def _study_name(settings: Settings, data: Snapshot, metric: str, n_folds: int, space: Space) -> str:
    """Return a name that changes with everything that makes trials incomparable."""
    parts = [
        data.digest,
        str(data.as_of),  # the folds are cut from it
        settings.model.model_dump_json(),
        settings.feedback.model_dump_json(),
        settings.holdout.model_dump_json(),
        settings.rerank.model_dump_json(),
        f"{settings.evaluate.max_users} {settings.job.seed} {metric} {n_folds} {space} "
        f"{code_version()}",
    ]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    return f"{settings.job.name}-{settings.model.name}-{digest}"
