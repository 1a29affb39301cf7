"""An expectation's outcome: what `validate` and `check` find, and what stops a night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recjobs.config import Level
from recjobs.errors import CheckFailedError


@dataclass(frozen=True, slots=True)
class Outcome:
    """One expectation of one run: a row of the table ``check_result``.

    Attributes:
        stage: ``"validate"`` or ``"check"``.
        name: The expectation's key in the settings, such as ``"nulls"``.
        level: What a failure does: ``"warn"`` or ``"stop"`` (an expectation that is ``"off"``
            leaves no outcome).
        passed: Whether it held.
        observed: What was measured.
        expected: The limit it was held against.
        message: One sentence for the person who is paged: what was found and how to mend it.
    """

    stage: str
    name: str
    level: Level
    passed: bool
    observed: float
    expected: float
    message: str


def require(outcomes: Sequence[Outcome]) -> None:
    """Stop the night where an expectation of level "stop" did not hold.

    Raises:
        CheckFailedError: Names each of them.
    """
    failed = [o for o in outcomes if o.level == "stop" and not o.passed]
    if failed:
        lines = "\n".join(f"  {o.stage}.{o.name}: {o.message}" for o in failed)
        raise CheckFailedError(
            f"{len(failed)} expectation(s) did not hold:\n{lines}\n"
            "Nothing was published. Mend the source, then run the night again with --fresh (in "
            "Airflow: clear the whole DAG run); changed settings make another run by themselves."
        )
