"""What the command line knows of one command: its name, what ``--help`` teaches, its arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass


def nothing(parser: argparse.ArgumentParser) -> None:
    """Add no argument."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command; what it does is the function of its name in `commands`.

    Attributes:
        name: As it is typed.
        line: What it does, in a few words.
        text: What ``--help`` teaches beyond that, with examples.
        arguments: Adds its arguments.
        config: Whether it takes a job's settings.
        json: Whether it can answer in JSON.
    """

    name: str
    line: str
    text: str
    arguments: Callable[[argparse.ArgumentParser], None] = nothing
    config: bool = True
    json: bool = True


def positive(text: str) -> int:
    """Return a whole number that a bigint holds, from 1."""
    number = int(text)
    if not 0 < number < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1. Received: {text}")
    return number
