"""What a stage may use: the settings as the run began with them, the run, its files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recjobs.artifacts import RunFolder
from recjobs.config import Settings
from recjobs.errors import ConfigError
from recjobs.instants import microseconds
from recjobs.runs import Run, RunStore, run_folder

if TYPE_CHECKING:
    from recjobs.source.parts import Parts


@dataclass(frozen=True, slots=True)
class Night:
    """What a stage may use: the settings (overrides applied), the run, its artifacts.

    Attributes:
        require_lease: Refuses to go on where the stage has lost the job's lease meanwhile (see
            `lease.holding`); nothing where it holds none.
    """

    settings: Settings
    run: Run
    folder: RunFolder
    store: RunStore
    require_lease: Callable[[], None] = lambda: None

    @classmethod
    def of(cls, settings: Settings, run: Run) -> Night:
        """Return the night of a run that was opened before.

        Raises:
            ConfigError: The settings are no longer those that it began with.
        """
        # The seed and the threads are parts of the key that the settings' hash leaves out.
        key = {"job.seed": run.key.seed, "job.training_threads": run.key.training_threads}
        settings = settings.with_overrides({**run.overrides, **key})
        if settings.hash() != run.key.settings_hash:
            raise ConfigError(
                f"run {run.run_id} began with other settings (hash {run.key.settings_hash}, now "
                f"{settings.hash()}): put them back to finish it or to write its report, or start "
                "a run with the new ones"
            )
        return cls(settings, run, run_folder(run), RunStore.of(settings))

    @property
    def as_of(self) -> int:
        """The run's instant in microseconds."""
        return microseconds(self.run.key.as_of)


def lease(
    settings: Settings, run_id: int, part: str = ""
) -> AbstractContextManager[Callable[[], None]]:
    """Hold the job's lease for a run, or for a part of a stage of it, while a block runs.

    Gives the block what refuses to go on where it was lost; see `lease.holding`.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}"
    ttl, handover = settings.lease.ttl_seconds, settings.lease.handover_seconds
    return RunStore.of(settings).lease(run_id, holder, ttl, handover, part)


def kept_parts(settings: Settings) -> Parts:
    """Return the days of the source that the job keeps between its nights."""
    from recjobs.source.parts import Parts

    job = settings.job  # of one name in several schemas there may be several
    return Parts(f"{settings.artifacts.root}/{job.name}-{job.db_schema}-days")
