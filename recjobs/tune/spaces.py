"""What is tried, by model: ranges wide enough to hold what suits other data than ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from recjobs.errors import ConfigError
from recjobs.models import check_params

if TYPE_CHECKING:
    from optuna import Trial

Value = bool | int | float | str


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``; whole ones where both ends are; on a log scale if so."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def suggest(self, trial: Trial, name: str) -> Value:
        """Return the trial's choice."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return float(f"{value:.3g}")  # as exact as it matters, and as a person would write it


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def suggest(self, trial: Trial, name: str) -> Value:
        """Return the trial's choice."""
        chosen = trial.suggest_categorical(name, self.values)
        return next(value for value in self.values if value == chosen)


Space = dict[str, Range | Choice]

_DIMS: Final = Choice((32, 64, 128, 192))
_SEQUENCE: Final[Space] = {
    "embedding_dim": Choice((32, 64, 128)),
    "dropout": Range(0.0, 0.5),
    "learning_rate": Range(0.0003, 0.005, log=True),
}

_NEIGHBOURS: Final[Space] = {
    "neighbours": Range(20, 1000, log=True),
    "shrinkage": Range(0.5, 500.0, log=True),
}

SPACES: Final[dict[str, Space]] = {
    "popular": {"half_life_days": Range(0.5, 365.0, log=True)},
    "user_knn": _NEIGHBOURS,
    "item_knn": _NEIGHBOURS,
    "ease": {"l2": Range(1.0, 10_000.0, log=True)},
    "elsa": {
        "embedding_dim": Choice((64, 128, 256, 512, 800)),
        "learning_rate": Range(0.01, 0.3, log=True),
    },
    "graph_filter": {
        "embedding_dim": Choice((32, 64, 128, 256, 512)),
        "ideal_weight": Range(0.0, 1.0),
    },
    "ials": {
        "embedding_dim": Choice((64, 128, 192, 256, 512)),
        "l2": Range(0.0003, 0.1, log=True),
        "alpha0": Range(0.01, 1.0, log=True),
        "epochs": Range(4, 20),
    },
    "mf": {
        "embedding_dim": _DIMS,
        "learning_rate": Range(0.0005, 0.05, log=True),
        "l2": Range(0.0001, 1.0, log=True),
    },
    "ncf": {
        "embedding_dim": Choice((16, 32, 50, 64, 96)),
        "learning_rate": Range(0.0005, 0.01, log=True),
        "l2": Range(0.0001, 1.0, log=True),
    },
    "content": {
        "text": Range(0.0, 3.0),
        "categories": Range(0.0, 3.0),
        "popularity": Range(0.0, 1.0),
    },
    "two_tower": {
        "embedding_dim": Choice((32, 64, 128)),
        "id_dropout": Range(0.0, 0.8),
        "learning_rate": Range(0.0005, 0.02, log=True),
        "l2": Range(0.0001, 1.0, log=True),
    },
    "gru4rec": _SEQUENCE,
    "sasrec": _SEQUENCE,
}

_BLEND: Final[Space] = {"scale": Choice(("z", "rank")), "rerank": Choice((False, True))}


def space_of(model: str, params: dict[str, Any]) -> Space:
    """Return a model's space; a blend's holds those of its models, by dotted name.

    Args:
        model: A name of the registry.
        params: Its hyperparameters, as the settings give them.

    Raises:
        ConfigError: It has none.
    """
    if model == "blend":
        given = check_params(model, params).model_dump()
        own = {
            f"models.{part}.{name}": each
            for part in given["models"]
            for name, each in SPACES[part].items()
        }
        blend = dict(_BLEND)
        if not given["judged_users"]:  # a reranker would have nobody to learn from
            del blend["rerank"]
        return blend | own
    if model not in SPACES:
        known = ", ".join(sorted([*SPACES, "blend"]))
        raise ConfigError(f"tune: {model} has no search space; known: {known}")
    return SPACES[model]


def within(space: Space, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that the space could have suggested."""
    given = {name: _at(params, name) for name in space}
    return {name: value for name, value in given.items() if value in space[name]}


def placed(params: dict[str, Any], suggested: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters with what was suggested in its place, a dot for each table."""
    new = dict(params)
    for name, value in suggested.items():
        table, *rest = name.split(".", 1)
        new[table] = placed(new.get(table, {}), {rest[0]: value}) if rest else value
    return new


def _at(params: dict[str, Any], name: str) -> Any:
    """Return what stands at a dotted name; None where nothing does."""
    found: Any = params
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
