"""The log to tune on: what the index stage of a run left, or of a dry run made for the purpose."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from recjobs import pipeline
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.errors import ConfigError
from recjobs.instants import microseconds
from recjobs.progress import Watch
from recjobs.read_back import UNREADABLE, read_log
from recjobs.runs import FINISHED, Run, RunStore, run_folder

_logger = logging.getLogger(__name__)
_STAGES: Final = ("extract", "validate", "index")
#: Runs that are looked at for one of the wanted instant.
_NEWEST: Final = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run's log.

    Attributes:
        log: Everything before ``as_of``.
        as_of: Microseconds.
        run: Whose artifacts it is.
        digest: Of the files.
    """

    log: Interactions
    as_of: int
    run: Run
    digest: str


def snapshot(
    settings: Settings, *, as_of: datetime | None, run_id: int | None, watch: Watch
) -> Snapshot:
    """Return the log of a run whose index stage has finished.

    Args:
        settings: Of the job.
        as_of: Of which instant; where no run has one, a dry run is begun and ends after ``index``,
            and a night of the same key goes on from there, if that instant had come by then. It
            supersedes a finished night whose files are gone.
        run_id: Of which run; without either, the newest one.
        watch: Opens a progress for a stage.

    Raises:
        ConfigError: There is no such run, its files are gone, or that instant's night has not
            finished and has no data yet.
        DataError: The run that is named has files which can't be read any more.
    """
    store = RunStore.of(settings)
    if run_id is not None:
        return _read(store.get(run_id))
    for run in store.latest(_NEWEST):
        if as_of in (None, run.key.as_of) and run_folder(run).finished("index"):
            try:
                return _read(run)
            except UNREADABLE as error:  # an older version wrote it
                _logger.warning("run %d can't be read any more: %s", run.run_id, error)
    if as_of is None:
        raise ConfigError("tune: no run has a snapshot to read; give --as-of, and one is extracted")
    return _read(_extract(settings, as_of, watch))


def _read(run: Run) -> Snapshot:
    folder = run_folder(run)
    log = read_log(folder, features=True)
    files = folder.manifest("index").files
    # Trials cut folds of their own: that of the run's night is no part of what they are judged on.
    digest = "".join(files[name] for name in files if name != "split.npz")
    return Snapshot(log, microseconds(run.key.as_of), run, digest)


def _extract(settings: Settings, as_of: datetime, watch: Watch) -> Run:
    run = pipeline.begin(settings, as_of, dry_run=True)
    if run.status in FINISHED:  # its files are gone, and none of its stages would run again
        run = pipeline.begin(settings, as_of, fresh=True, dry_run=True)
    try:
        for stage in _STAGES:
            with watch(stage) as progress:
                pipeline.run_stage(settings, run.run_id, stage, progress)
    finally:
        RunStore.of(settings).release(run.run_id)
    return run
