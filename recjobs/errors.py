"""What can go wrong, by what the operator should do about it.

    RecJobsError                 exit 1   unknown: a full disk, no memory, or a defect to report
    ├── ConfigError              exit 2   fix what the message names (`recjobs doctor`), run again
    ├── DataError                exit 3   the inputs: look at recs.check_result, mend, run --fresh
    │   └── CheckFailedError     exit 3   the same: an expectation set to "stop" did not hold
    ├── GateError                exit 4   the model was held: read the report; `recjobs promote`
    └── DatabaseError            exit 5   the database failed: run again, it resumes
        └── LeaseHeldError       exit 6   another run of this job is at work: wait for it

Whichever it is, the lists that were live are live still.
Only `DatabaseError` and its kin are worth a retry: the others fail the same way again until a
person changes something. Airflow's retry rules and the command line's exit codes both follow
this tree.
"""

from __future__ import annotations

from typing import ClassVar


class RecJobsError(Exception):
    """Something failed in a way that recjobs knows; the message says what and how to mend it."""

    exit_code: ClassVar[int] = 1


class ConfigError(RecJobsError):
    """The settings or the set-up are wrong: fix them, a retry fails the same way."""

    exit_code = 2


class DataError(RecJobsError):
    """The inputs are wrong: nothing was published, last night's lists stay live."""

    exit_code = 3


class CheckFailedError(DataError):
    """An expectation whose level is "stop" did not hold: nothing was published."""


class GateError(RecJobsError):
    """The model did not pass the gate: the run is held, last night's lists stay live."""

    exit_code = 4


class DatabaseError(RecJobsError):
    """The database failed or refused: nothing is half-written, a retry resumes the run."""

    exit_code = 5


class LeaseHeldError(DatabaseError):
    """Another run of this job holds the lease: wait until it ends or its lease expires."""

    exit_code = 6


def failure(error: str | None) -> tuple[type[RecJobsError], str]:
    """Split ``"DataError: no rows"`` into the class and the message.

    An error from outside the tree is of the class at its root, its own left in the message.
    """
    name, colon, message = (error or "").partition(": ")
    kind = globals().get(name) if colon and name.isidentifier() else None
    if isinstance(kind, type) and issubclass(kind, RecJobsError):
        return kind, message
    return RecJobsError, error or "No reason was recorded: see the log of the stage."
