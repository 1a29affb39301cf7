"""What the trials found: as values, as lines, as a piece of a settings file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recjobs.config import Settings, toml_value
from recjobs.errors import ConfigError
from recjobs.files import check_writable
from recjobs.tune.folds import Fold

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

#: How a fragment begins.
_HEAD: Final = "# recjobs tune"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the trials found.

    Attributes:
        metric: What was compared, on the mean of the folds.
        folds: How many.
        users: Judged in each fold.
        trials: Of all calls, in order: number, state, params, value, seconds.
        before: Of the settings as they were; None where that trial did not end.
        best: The greatest value (the least RMSE).
        params: The hyperparameters that gave it.
        journal: Where the trials are stored.
        fragment: The best as settings, TOML.
    """

    metric: str
    folds: int
    users: tuple[int, ...]
    trials: tuple[dict[str, Any], ...]
    before: float | None
    best: float
    params: dict[str, Any]
    journal: Path
    fragment: str


def check_output(path: Path) -> None:
    """Refuse a path where no fragment may go: over no file but an older fragment.

    Raises:
        ConfigError: Another file is there, or none can be written.
    """
    check_writable(path, "--output")
    if path.exists() and not path.read_bytes().startswith(_HEAD.encode()):
        raise ConfigError(f"{path} is there already, and not from tune: name another file")


def as_it_is(trial: Trial | FrozenTrial) -> bool:
    """Tell whether a trial is that of the settings as they were."""
    return bool(trial.user_attrs.get("as_it_is"))


def outcome(
    study: Study,
    settings: Settings,
    metric: str,
    folds: Sequence[Fold],
    journal: Path,
) -> Outcome:
    """Return what the trials found.

    Args:
        study: With all of them.
        settings: Of the job.
        metric: What was compared.
        folds: On what.
        journal: Where the trials are stored.

    Raises:
        ConfigError: None could be judged.
    """
    done = [each for each in study.trials if each.state.name == "COMPLETE"]
    if not done:
        failures = [each.user_attrs["why"] for each in study.trials if "why" in each.user_attrs]
        why = failures[-1] if failures else "the time was over before one had ended"
        raise ConfigError(f"tune: no trial of {settings.model.name} could be judged: {why}")
    best = study.best_trial
    params = dict(best.user_attrs["model_params"])
    before = next((each.value for each in done if as_it_is(each)), None)
    value = float(best.value or 0.0)
    return Outcome(
        metric=metric,
        folds=len(folds),
        users=tuple(len(fold.judged.users) for fold in folds),
        trials=tuple(_told(each) for each in study.trials if each.state.is_finished()),
        before=before,
        best=value,
        params=params,
        journal=journal,
        fragment=_fragment(settings.model.name, params, metric, value, before, len(done)),
    )


def _told(trial: FrozenTrial) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "params": trial.user_attrs.get("model_params", trial.params),
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "seconds": seconds,
    }


def line(trial: FrozenTrial, metric: str) -> str:
    """Return a trial in one line."""
    told = _told(trial)
    value = told["state"] if told["value"] is None else f"{metric} {told['value']:.4f}"
    note = " (the settings as they are)" if as_it_is(trial) else ""
    note += f": {trial.user_attrs['why']}" if "why" in trial.user_attrs else ""
    shown = ", ".join(f"{key} = {toml_value(value)}" for key, value in told["params"].items())
    return f"trial {trial.number}: {value}  {shown}{note}"


def _fragment(
    model: str, params: dict[str, Any], metric: str, value: float, before: float | None, n: int
) -> str:
    """Return the best as a piece of a settings file."""
    was = "" if before is None else f"; {before:.4f} with the settings as they were"
    return "\n".join(
        [
            f"{_HEAD}, {datetime.now(UTC):%Y-%m-%d}: {metric} {value:.4f} on folds before "
            "the holdout,",
            f"# the best of {n} trials{was}. The next night's holdout is the judge.",
            "[model]",
            f"name = {toml_value(model)}",
            *(["[model.params]"] if params else []),
            *(f"{key} = {toml_value(value)}" for key, value in params.items()),
            "",
        ]
    )
