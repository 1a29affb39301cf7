"""A request in, the figures out: what `recjobs bench quality` prints."""

from __future__ import annotations

import platform
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from recjobs import __version__, models
from recjobs.bench import files, fitting, rating
from recjobs.bench.columns import check_columns, events_of
from recjobs.bench.figures import Figures
from recjobs.bench.files import Judged
from recjobs.bench.fitting import Fitted
from recjobs.bench.full import Candidates, full
from recjobs.bench.sampled import sampled
from recjobs.columns import ITEM_ID, RATING, USER_ID
from recjobs.config import FeedbackSettings
from recjobs.dataset import BoolArray
from recjobs.errors import ConfigError
from recjobs.files import check_writable
from recjobs.progress import Progress, Watch

Protocol = Literal["full", "sampled", "rating"]

#: Keys of ``--set`` that say what a row means.
_FEEDBACK: Final = {"min_rating": "positive_at", "event_weights": "event_weights"}
#: Those and the one that says which rows validate; the others are the model's own.
_SHARED: Final = (*_FEEDBACK, "validation")
#: No rating is below it: every one is a positive, unless a least one is given.
_LEAST: Final = float(np.finfo(np.float32).min)
#: Libraries whose versions can change a figure.
_LIBRARIES: Final = ("keras", "numba", "numpy", "pyarrow", "scipy", "tensorflow")


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure.

    Attributes:
        train: T.
        test: E.
        negatives: N; of the protocol *sampled*.
        items: I.
        model: A name of the registry.
        settings: Its hyperparameters, and ``min_rating``, ``event_weights`` and ``validation``.
        protocol: How E is judged.
        candidates: What is ranked; of the protocol *full*.
        k: Cutoffs.
        seed: Of the model and of the intervals.
        threads: The model's.
        per_user: Where to write each user's value of each metric, as Parquet.
    """

    train: Path
    test: Path
    model: str
    protocol: Protocol
    negatives: Path | None = None
    items: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    candidates: Candidates = "train"
    k: tuple[int, ...] = (10, 20)
    seed: int = 42
    threads: int = 1
    per_user: Path | None = None


def quality(request: Request, watch: Watch) -> dict[str, Any]:
    """Fit a model on T, judge it on E, and return the figures as JSON values.

    Args:
        request: What to measure.
        watch: Opens a progress for what it is given the name of.

    Raises:
        ConfigError: The request does not fit together, or a file is missing.
        DataError: A file is not what it should be.
    """
    kind = models.model_class(request.model)
    own = {key: value for key, value in request.settings.items() if key not in _SHARED}
    settings = models.check_params(request.model, own)
    feedback, validated = _feedback(request), _validated(request)
    _check(request, kind)

    given = files.read_training(request.train, request.items)
    if request.protocol == "rating":
        rating.check_learnable(given)
    kinds = models.kinds_of(request.model, settings)
    fitting.check_times(kinds, given, validated)
    fitting.import_first(kinds, settings)
    with watch("fit") as progress:
        fitted = fitting.fit(
            kind, settings, given, feedback, validated,
            seed=request.seed, threads=request.threads, progress=progress,
        )  # fmt: skip
    with watch("score") as progress:
        figures = _judge(request, fitted, given.in_items, feedback, progress)

    shown = {**settings.model_dump(mode="json")}
    shown |= {key: request.settings[key] for key in _SHARED if key in request.settings}
    return {
        "model": request.model,
        "settings": shown,
        "protocol": request.protocol,
        "seed": request.seed,
        "threads": request.threads,
        "metrics": {name: found.value for name, found in figures.metrics.items()},
        "intervals": {name: [found.low, found.high] for name, found in figures.metrics.items()},
        "counts": figures.counts | fitting.counts_of(fitted),
        "fit_seconds": round((fitted.selection_seconds or 0) + fitted.refit_seconds, 3),
        "score_seconds": round(figures.score_seconds, 3),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "versions": {
            "recjobs": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
        },
    }


def _feedback(request: Request) -> FeedbackSettings:
    given = {
        setting: request.settings[key]
        for key, setting in _FEEDBACK.items()
        if key in request.settings
    }
    if request.protocol == "rating":
        if given:
            raise ConfigError("min_rating and event_weights: --protocol rating has no positives")
        return FeedbackSettings(kind="explicit")
    if len(given) > 1:
        raise ConfigError("give only one of min_rating and event_weights")
    try:
        return FeedbackSettings.model_validate({"positive_at": _LEAST, **given})
    except ValidationError as error:
        names = {setting: key for key, setting in _FEEDBACK.items()}
        problems = "; ".join(
            f"{names[str(each['loc'][0])]}: {each['msg']}. Received: {each['input']!r}"
            for each in error.errors()
        )
        raise ConfigError(problems) from error


def _validated(request: Request) -> fitting.Validation:
    known = get_args(fitting.Validation)
    found: fitting.Validation = request.settings.get("validation", "last")
    if found not in known:
        raise ConfigError(f"validation: expected {' or '.join(known)}. Received: {found!r}")
    if "validation" in request.settings and request.protocol == "rating":
        raise ConfigError("validation: --protocol rating validates by rows drawn at random")
    return found


def _check(request: Request, kind: type[models.Model]) -> None:
    """Refuse what would fail after the fit; of E and N only the schemas are read."""
    if request.threads < 1 or not 0 <= request.seed < 2**31:
        raise ConfigError(
            "expected --threads from 1 and --seed from 0 to 2^31 - 1. "
            f"Received: {request.threads}, {request.seed}"
        )
    if (request.protocol == "sampled") != (request.negatives is not None):
        raise ConfigError("--negatives goes with --protocol sampled, and it needs them")
    if request.candidates != "train" and request.protocol != "full":
        raise ConfigError(f"--candidates {request.candidates} goes with --protocol full")
    if request.per_user is not None and request.protocol == "rating":
        raise ConfigError("--per-user: --protocol rating has no values by user")
    if request.per_user is not None:
        check_writable(request.per_user, "--per-user")
        for given in (request.train, request.test, request.negatives, request.items):
            if given is not None and _same_file(request.per_user, given):
                raise ConfigError(f"--per-user: expected another file than {given}, which is read")
    if request.candidates == "items" and request.items is None:
        raise ConfigError("--candidates items needs --items")
    if not request.k or min(request.k) < 1:
        raise ConfigError(f"--k: expected cutoffs from 1, as in 10,20. Received: {request.k}")
    rated = [RATING] if request.protocol == "rating" else []
    if rated:
        rating.check_predicts(kind)
    schema = check_columns(request.test, [USER_ID, ITEM_ID, *rated])
    events_of(request.test, schema.empty_table())
    if request.negatives is not None:
        check_columns(request.negatives, [USER_ID, files.NEGATIVES])


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def _judge(
    request: Request,
    fitted: Fitted,
    in_items: BoolArray | None,
    feedback: FeedbackSettings,
    progress: Progress,
) -> Figures:
    """Open E, and N, for the first time, and judge the model."""
    judged = files.read_judged(request.test, fitted.train.log)
    figures = _figures(request, fitted, judged, in_items, feedback, progress)
    if request.per_user is not None:
        ids = judged.users.decode(figures.users)
        pq.write_table(pa.table({USER_ID: ids, **figures.values}), request.per_user)
    return figures


def _figures(
    request: Request,
    fitted: Fitted,
    judged: Judged,
    in_items: BoolArray | None,
    feedback: FeedbackSettings,
    progress: Progress,
) -> Figures:
    if request.protocol == "rating":
        rating.check_ratings(judged)
        return rating.rating(fitted, judged, seed=request.seed)
    relevant = files.liked(judged, feedback)
    if request.negatives is not None:
        negatives = files.read_negatives(request.negatives, fitted.train.log, judged)
        return sampled(
            fitted, judged, relevant, negatives, k=request.k, seed=request.seed, progress=progress
        )
    return full(
        fitted, judged, relevant, in_items, request.candidates,
        k=request.k, seed=request.seed, progress=progress,
    )  # fmt: skip


def _peak_memory_mb() -> float:
    """Return the most memory that this process has held since it began, imports included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
