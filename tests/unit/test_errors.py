"""The error tree: what the command line and Airflow rely on."""

from __future__ import annotations

import inspect
import re

import pytest

from recjobs import errors
from recjobs.errors import RecJobsError, failure

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, RecJobsError) and cls.__module__ == errors.__name__
]


def drawn() -> dict[str, tuple[str, int]]:
    """Parent and exit code by name, as the module's docstring draws the tree."""
    found: dict[str, tuple[str, int]] = {}
    above: list[tuple[int, str]] = []
    for line in inspect.getdoc(errors).splitlines():  # type: ignore[union-attr]
        if match := re.match(r"([ │├└─]*)(\w+Error)\s+exit (\d)", line):
            depth, name = len(match[1]), match[2]
            above = [(d, n) for d, n in above if d < depth]
            found[name] = (above[-1][1] if above else "Exception", int(match[3]))
            above.append((depth, name))
    return found


def test_the_tree_is_drawn_as_it_is() -> None:
    assert drawn() == {cls.__name__: (cls.__base__.__name__, cls.exit_code) for cls in CLASSES}


def test_only_the_database_is_worth_a_retry() -> None:
    retried = {cls.__name__ for cls in CLASSES if issubclass(cls, errors.DatabaseError)}
    assert retried == {"DatabaseError", "LeaseHeldError"}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_carries_its_message_and_a_failing_exit_code(cls: type[RecJobsError]) -> None:
    assert str(cls("what is wrong")) == "what is wrong"
    assert 0 < cls.exit_code < 126  # 126 and up are the shell's
    assert cls.__doc__


def test_failure_is_read_by_the_error_tree() -> None:
    assert failure("GateError: a: b")[0].exit_code == 4
    assert failure("GateError: a: b")[1] == "a: b"
    assert failure("KeyError: 'x'") == (failure(None)[0], "KeyError: 'x'")
    assert failure("annotations: not a class")[1] == "annotations: not a class"
