"""The registry: a model's name, and where its class is. Adding a model is one file and one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from recjobs.config import Section
from recjobs.errors import ConfigError, DataError
from recjobs.files import read_json

if TYPE_CHECKING:
    from recjobs.models.base import (
        BlockModel,
        Epoch,
        FactorModel,
        History,
        Model,
        RatingModel,
    )

__all__ = [
    "REGISTRY",
    "BlockModel",
    "Epoch",
    "FactorModel",
    "History",
    "Model",
    "RatingModel",
    "check_params",
    "kinds_of",
    "load",
    "make",
    "model_class",
    "require_vectors",
]

#: Imported where they are used: some take seconds to import.
REGISTRY: Final[dict[str, str]] = {
    "popular": "recjobs.models.popular:Popular",
    "user_knn": "recjobs.models.user_knn:UserKnn",
    "item_knn": "recjobs.models.item_knn:ItemKnn",
    "ease": "recjobs.models.ease:Ease",
    "elsa": "recjobs.models.elsa:Elsa",
    "ials": "recjobs.models.ials:Ials",
    "graph_filter": "recjobs.models.graph_filter:GraphFilter",
    "blend": "recjobs.models.blend:Blend",
    "mf": "recjobs.models.mf:MatrixFactorization",
    "ncf": "recjobs.models.ncf:NeuralCollaborativeFiltering",
    "content": "recjobs.models.content:Content",
    "two_tower": "recjobs.models.two_tower:TwoTower",
    "gru4rec": "recjobs.models.gru4rec:Gru4Rec",
    "sasrec": "recjobs.models.sasrec:SasRec",
}


def __getattr__(name: str) -> Any:
    """Import a base class where it is first used: a DAG is parsed for the models' names alone."""
    if name in __all__:
        return getattr(import_module("recjobs.models.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def model_class(name: str, setting: str = "model.name") -> type[Model]:
    """Return a model's class.

    Args:
        name: Of the registry.
        setting: Where the name stands, for the message.

    Raises:
        ConfigError: There is no model of that name.
    """
    if name not in REGISTRY:
        hint = _hint(name, list(REGISTRY))
        raise ConfigError(f"{setting}: there is no model {name!r}; {hint}")
    module, _, attribute = REGISTRY[name].partition(":")
    found: type[Model] = getattr(import_module(module), attribute)
    return found


def check_params(name: str, params: Mapping[str, Any]) -> Section:
    """Return a model's hyperparameters, checked, defaults filled in.

    Raises:
        ConfigError: The model or a hyperparameter is unknown, or a value does not fit.
    """
    section = model_class(name).Settings
    try:
        return section.model_validate(dict(params))
    except ValidationError as error:
        problems = "; ".join(_explain(e, name, list(section.model_fields)) for e in error.errors())
        raise ConfigError(problems) from error


def kinds_of(name: str, params: Section) -> list[type[Model]]:
    """Return the classes that a fit uses: those of a blend's models, else the model's alone."""
    return [model_class(each) for each in getattr(params, "models", (name,))]


def require_vectors(name: str) -> None:
    """Refuse a model without vectors of users.

    Raises:
        ConfigError: The model has none, so nothing says which users are alike.
    """
    if not issubclass(model_class(name), import_module("recjobs.models.base").FactorModel):
        raise ConfigError(
            f"score.similar_users: expected a model with vectors of users (mf, ials, two_tower), "
            f"or 0. Received: model.name = {name!r}"
        )


def make(name: str, params: Mapping[str, Any], *, seed: int, threads: int) -> Model:
    """Return a new, unfitted model.

    Args:
        name: Of the registry.
        params: Hyperparameters; the rest take their defaults.
        seed: Of everything random in the model.
        threads: How many it may use to train.

    Raises:
        ConfigError: The model or a hyperparameter is unknown, or a value does not fit.
    """
    settings = check_params(name, params)
    return model_class(name)(settings, seed=seed, threads=threads)


def load(name: str, folder: Path, *, threads: int | None = None) -> Model:
    """Read a fitted model of that name from the folder it was saved in.

    Args:
        name: Of the registry.
        folder: Where it was saved.
        threads: How many it may use; default: as many as it was trained with.

    Raises:
        DataError: The folder holds another model.
    """
    received = read_json(folder / "model.json")["model"]
    if received != name:
        raise DataError(f"{folder}: expected a model {name!r}. Received: {received!r}")
    return model_class(name).load(folder, threads=threads)


def _hint(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"


def _explain(error: Any, name: str, known: list[str]) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"model.params.{key}: {name} has no such hyperparameter; {_hint(key, known)}"
    message = error["msg"].removeprefix("Value error, ")
    if not key:  # settings that don't fit together: the message names them, and their values
        return f"model.params.{message}"
    return f"model.params.{key}: {message}. Received: {error.get('input')!r}"
