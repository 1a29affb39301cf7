"""When a trial is stopped: worse than most at the same step, or out of time."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

#: Trials that end before others are held against them, and epochs before they are.
_STARTUP: Final = 4
_WARM_UP: Final = 3
#: The step of a fold's own result, behind those of its epochs.
FOLD_STEPS: Final = 10_000


class OutOfTimeError(Exception):
    """The budget is used up in the middle of a fit."""


def same_step_pruner(optuna: Any) -> Any:
    """Return a pruner that stops what is worse than the median of the others at the same step.

    Optuna's own takes a trial's best value of all steps; here steps differ in what is measured.
    """

    class SameStep(optuna.pruners.BasePruner):
        """Compares values of one step alone."""

        def prune(self, study: Study, trial: FrozenTrial) -> bool:
            """Tell whether to stop the trial."""
            step = trial.last_step
            if step is None or step % FOLD_STEPS < _WARM_UP:
                return False
            others = [
                each.intermediate_values[step]
                for each in study.get_trials(deepcopy=False)
                if each.number != trial.number and step in each.intermediate_values
            ]
            if len(others) < _STARTUP:
                return False
            ours, middle = trial.intermediate_values[step], median(others)
            return ours > middle if study.direction.name == "MINIMIZE" else ours < middle

    return SameStep()


class Watch:
    """A fit's progress: it ends what is hopeless or out of time, after an epoch."""

    def __init__(self, trial: Trial, fold: int, metric: str, until: float) -> None:
        self._trial, self._fold, self._metric, self._until = trial, fold, metric, until

    def __call__(self, done: float, note: str = "") -> None:
        """Stop where the time is over."""
        if time.monotonic() > self._until:
            raise OutOfTimeError

    def epoch(self, number: int, metric: str, value: float) -> None:
        """Stop where other trials were better after as many epochs."""
        if (metric == "rmse") == (self._metric == "rmse"):
            report(self._trial, value, self._fold * FOLD_STEPS + number)


def report(trial: Trial, value: float, step: int) -> None:
    """Tell Optuna of a step's value.

    Raises:
        TrialPruned: The trial is worse than most at this step.
    """
    from optuna import TrialPruned

    trial.report(value, step)
    if trial.should_prune():
        raise TrialPruned
