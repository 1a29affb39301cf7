"""How a long stage says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable


class Progress(Protocol):
    """Told by a stage how far it is; the command line draws a bar, a log gets a line."""

    def __call__(self, done: float, note: str = "") -> None:
        """Take a share between 0 and 1, and a word on what is being done or measured."""


#: Draws one stage's progress; left with an error, it shows the stage as failed.
Watch = Callable[[str], AbstractContextManager[Progress]]


@runtime_checkable
class EpochProgress(Protocol):
    """A `Progress` that also wants each epoch's validation; it may raise to end the fit."""

    def epoch(self, number: int, metric: str, value: float) -> None:
        """Take the number from 1, and the metric on the validation part after that epoch."""


def silent(done: float, note: str = "") -> None:
    """Take the report and do nothing with it."""


def unwatched(stage: str) -> AbstractContextManager[Progress]:
    """Show nothing of a stage; a `Watch`."""
    return nullcontext(silent)


def within(progress: Progress, start: float, end: float) -> Progress:
    """Return what a step that goes from one share of the stage to another tells it by."""

    def of_step(done: float, note: str = "") -> None:
        progress(start + (end - start) * done, note)

    return of_step
