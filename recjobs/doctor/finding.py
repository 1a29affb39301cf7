"""A finding, and how checks are kept from stopping each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import psycopg2

from recjobs import db
from recjobs.errors import DatabaseError, RecJobsError
from recjobs.source import questions

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was looked at, such as ``source.time_index``.
        status: ``"fail"`` where a night would fail, ``"warn"`` where it is only worse than need be.
        message: What was found.
        mend: What to do about it; empty where all is well.
    """

    name: str
    status: Status
    message: str
    mend: str = ""


def ok(name: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(name, "ok", message)


def warn(name: str, message: str, mend: str) -> Finding:
    """Return a finding that a night survives."""
    return Finding(name, "warn", message, mend)


def fail(name: str, message: str, mend: str) -> Finding:
    """Return a finding that a night would fail of."""
    return Finding(name, "fail", message, mend)


def guarded(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Run one check; where it breaks, that is its finding, and the other checks go on."""
    try:
        return list(check())
    except psycopg2.errors.QueryCanceled:
        message = f"not known: the server took longer than {questions.PATIENCE_SECONDS} s to tell"
        return [warn(name, message, "look again when the server is less busy")]
    except psycopg2.Error as error:
        return [_of_error(name, db.translated(error))]
    except RecJobsError as error:
        return [_of_error(name, error)]
    except Exception as error:  # a defect in a check hides no other check
        message = f"the check itself failed: {type(error).__name__}: {error}"
        return [warn(name, message, "report it as a defect of recjobs, with this line")]


def _of_error(name: str, error: RecJobsError) -> Finding:
    if isinstance(error, DatabaseError):
        return fail(name, str(error), "see whether the server is up and the DSN names it")
    return fail(name, str(error), "change the settings or the database as the message says")
