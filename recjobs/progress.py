"""How a long stage says how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by a stage how far it is; the command line draws a bar, a log gets a line."""

    def __call__(self, done: float, note: str = "") -> None:
        """Take a share between 0 and 1, and a word on what is being done or measured."""


def silent(done: float, note: str = "") -> None:
    """Take the report and do nothing with it."""
