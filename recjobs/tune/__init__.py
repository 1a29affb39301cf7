"""Hyperparameters by trial: Optuna, on folds inside the training window; the holdout stays unseen.

snapshot   the log of a run, from its artifacts or extracted for the purpose
folds      windows before the holdout, each judged as a night judges its holdout
spaces     what is tried, by model
study      the trials: the settings as they are first, stored, pruned, within a budget
"""

from recjobs.tune.outcome import Outcome, check_output
from recjobs.tune.snapshot import Snapshot, snapshot
from recjobs.tune.study import Budget, tune

__all__ = ["Budget", "Outcome", "Snapshot", "check_output", "snapshot", "tune"]
