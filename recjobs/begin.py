"""Opening a run: its settings, its key, a folder of its own, and the job's lease for it."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from recjobs import models, version
from recjobs.config import Settings
from recjobs.errors import ConfigError, LeaseHeldError, RecJobsError
from recjobs.night import lease
from recjobs.runs import FINISHED, Run, RunKey, RunStore, run_folder

_logger = logging.getLogger(__name__)
#: Sections that a run may override; the others say where things are, not what a list is.
_OVERRIDABLE: Final = (
    "feedback", "holdout", "validate", "model", "train", "evaluate", "gate", "score", "rerank",
    "check"
)  # fmt: skip


def begin(
    settings: Settings,
    as_of: datetime,
    *,
    overrides: Mapping[str, Any] | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    request: str | None = None,
    warm: bool = True,
) -> Run:
    """Open the run of this key, or find it, and take the job's lease for it.

    Args:
        settings: The job's settings.
        as_of: Only interactions before it exist for this run.
        overrides: Settings by dotted key, such as ``{"model.name": "ease"}``; a run with any does
            not go live by itself.
        fresh: Extract again, as a new run that supersedes the newest one of the same key; days
            that earlier nights have read are not used.
        dry_run: Stop after ``check``; no published table is touched.
        request: Names the attempt (an Airflow DAG run); the same name gives the same run.
        warm: Whether a new run may start from an earlier night's weights, as ``[train]`` says.

    Raises:
        LeaseHeldError: Another run of this job is at work.
        ConfigError: A setting does not fit, the tables were never migrated, or a dry run was asked
            for where the night's own run has not finished.
    """
    if as_of > datetime.now(UTC) + timedelta(days=1):
        raise ConfigError(
            f"as_of: expected tomorrow at the latest. Received: {as_of:%Y-%m-%d %H:%M %Z}. "
            "Were it live, no night before it could go live by itself."
        )
    overrides = _checked(overrides or {}, settings)
    settings = settings.with_overrides(overrides)
    require_sound(settings)
    key = RunKey(
        as_of=as_of.astimezone(UTC),
        settings_hash=settings.hash(),
        code_version=version.code_version(),
        seed=settings.job.seed,
        training_threads=settings.job.training_threads,
    )
    store = RunStore.of(settings)
    run = store.open(
        key,
        job=settings.job.name,
        model=settings.model.name,
        overrides=overrides,
        dry_run=dry_run,
        fresh=fresh,
        request=request,
        host=socket.gethostname(),
        artifacts=_new_folder(settings),
        cold_every=_cold_every(settings) if warm else None,
    )
    if run.supersedes and not (run.fresh or run.timings):
        told = "run %d was opened before its as_of, and lacks rows: run %d supersedes it"
        _logger.warning(told, run.supersedes, run.run_id)
    if run.status not in FINISHED:
        if dry_run and not run.dry_run:
            raise ConfigError(
                f"run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M %Z}, is to publish and has "
                f"not finished ({run.status}): as a dry run it never would. Finish it first "
                "(recjobs run without --dry-run), or name another as_of"
            )
        try:
            with lease(settings, run.run_id):  # taken, and kept for the first stage
                moved = _moved(run, settings)
                if run.decision in ("hold", "undecided") and not run.ever_live:
                    # What it may publish was decided while nothing was live: something may be now.
                    run_folder(run).remove("gate")
                again = {"status": "running", "error": None, "files_removed_at": None, **moved}
                store.update(run.run_id, dry_run=dry_run, **again)
        except LeaseHeldError:
            if fresh and request is None:  # opened just now, and nobody would find it again
                with suppress(RecJobsError):  # that it has to wait is what is to be told
                    store.discard(run.run_id)
            raise
        run = store.get(run.run_id)
    return run


def require_sound(settings: Settings) -> None:
    """Refuse before anything is read what a stage would refuse at last, perhaps after training.

    Raises:
        ConfigError: A hyperparameter does not fit, a model or a baseline is unknown, or what
            another setting needs is not there.
    """
    models.check_params(settings.model.name, settings.model.params)
    for name in settings.evaluate.baselines:
        models.model_class(name, "evaluate.baselines")
    if settings.score.similar_users:
        models.require_vectors(settings.model.name)
    if settings.rerank.calibration and not settings.source.items.categories:
        raise ConfigError(
            "rerank.calibration keeps the shares of categories: name their columns in "
            "source.items.categories, or set it to 0"
        )


def _checked(overrides: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a run's overrides, with what follows from them."""
    wrong = [key for key in overrides if key.partition(".")[0] not in _OVERRIDABLE]
    if wrong:
        raise ConfigError(
            f"a run's overrides: expected settings of {', '.join(_OVERRIDABLE)}. "
            f"Received: {', '.join(wrong)}"
        )
    if overrides.get("model.name", settings.model.name) != settings.model.name:
        # Hyperparameters are a model's own: another one takes its defaults.
        return {"model.params": {}, **overrides}
    return dict(overrides)


def _new_folder(settings: Settings) -> str:
    """Return a folder of a run's own: run ids start at 1 in every schema."""
    return f"{settings.artifacts.root}/{settings.job.name}-{secrets.token_hex(6)}"


def _cold_every(settings: Settings) -> int | None:
    """Return ``train.cold_every``; None where models start from scratch."""
    warm = settings.train.warm_start and models.model_class(settings.model.name).warm_starts
    return settings.train.cold_every if warm else None


def _moved(run: Run, settings: Settings) -> dict[str, str]:
    """Return what changes of a run's row where ``artifacts.root`` is another one by now."""
    root = settings.artifacts.root
    if run.artifacts.startswith(f"{root}/"):
        return {}
    if run.timings:
        raise ConfigError(
            f"run {run.run_id} has its files in {run.artifacts}, and artifacts.root is {root}: "
            "put it back to finish the run, or begin anew with --fresh"
        )
    return {"artifacts": _new_folder(settings), "host": socket.gethostname()}
