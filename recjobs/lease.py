"""The job's lease: one run of a job at a time, whichever processes run its stages.

One row in the database names the run, the process at work and when it expires, by the database's
clock. No session state is used, so it works through a transaction pooler. While a stage runs a
thread renews the lease; between two stages the run keeps it for a while, and any process may go on.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from recjobs import db
from recjobs.errors import LeaseHeldError, RecJobsError


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease.

    Attributes:
        run_id: The run.
        process: ``host:pid``.
        at_work: Whether a stage runs (or ran when the process died).
        since: When the run took it.
        expires: When it expires, unless it is renewed.
        expired: Whether it has.
    """

    run_id: int
    process: str
    at_work: bool
    since: datetime
    expires: datetime
    expired: bool

    def is_dead(self) -> bool:
        """Tell whether the process was at work on this machine and is no more."""
        host, _, pid = self.process.rpartition(":")
        if not self.at_work or host != socket.gethostname() or not pid.isdecimal():
            return False
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass  # another user's process: alive
        return False


def current(connection: db.PgConnection, schema: str) -> Holder | None:
    """Return who holds the lease; None where it is free."""
    rows = db.execute(connection, db.query("lease/current", schema=schema))
    return Holder(*rows[0]) if rows else None


def acquire(
    dsn: str, schema: str, run_id: int, holder: str, seconds: float, *, at_work: bool = True
) -> None:
    """Take the lease for a run.

    It can be had where it is free or expired, where the same run holds it and none of its other
    processes is at work, and where the holder was a process of this machine that has died.

    Raises:
        LeaseHeldError: Another run holds it, or another process works on this run.
    """
    values = {"run_id": run_id, "holder": holder, "at_work": at_work, "seconds": seconds}
    statement = db.query("lease/acquire", schema=schema)
    with db.connect(dsn) as connection:
        if db.execute(connection, statement, {**values, "dead": None}):
            return
        held = current(connection, schema)
        dead = held.process if held and held.is_dead() else None
        if held is None or dead:  # given back between the two statements, or its process died
            if db.execute(connection, statement, {**values, "dead": dead}):
                return
            held = current(connection, schema)
    raise LeaseHeldError(_held(run_id, held))


def release(dsn: str, schema: str, run_id: int) -> None:
    """Give the lease back, if the run holds it."""
    with db.connect(dsn) as connection:
        db.execute(connection, db.query("lease/release", schema=schema), {"run_id": run_id})


@contextmanager
def holding(
    dsn: str, schema: str, run_id: int, holder: str, ttl: float, handover: float
) -> Iterator[None]:
    """Hold the lease while the block runs, renewed by a thread; then keep it for the next stage.

    Args:
        dsn: The target database.
        schema: The job's schema.
        run_id: The run.
        holder: This process, ``host:pid``.
        ttl: Seconds; a holder that has been silent so long has lost the lease.
        handover: Seconds; how long the run keeps it after the block.

    Raises:
        LeaseHeldError: Another run holds it; or it was lost while the block ran.
    """
    acquire(dsn, schema, run_id, holder, ttl)
    heart = _Heart(dsn, schema, run_id, holder, ttl)
    heart.start()
    try:
        yield
    except BaseException:
        heart.stop()
        with suppress(RecJobsError):  # the stage's own failure is the one to be told
            _renew(dsn, schema, run_id, holder, handover, at_work=False)
        raise
    heart.stop()
    if heart.lost or not _renew(dsn, schema, run_id, holder, handover, at_work=False):
        raise LeaseHeldError(
            f"run {run_id} lost the job's lease while a stage was at work: {holder} could not "
            f"renew it in time (lease.ttl_seconds = {ttl:g}), or another run took it. Nothing was "
            "published; run it again."
        )


class _Heart(threading.Thread):
    """Renews the lease until it is stopped or the lease is lost."""

    def __init__(self, dsn: str, schema: str, run_id: int, holder: str, ttl: float) -> None:
        super().__init__(name=f"lease of run {run_id}", daemon=True)
        self.lost = False
        self._lease = (dsn, schema, run_id, holder, ttl)
        self._ttl = ttl
        self._stopping = threading.Event()

    def run(self) -> None:
        renewed = time.monotonic()
        while not self._stopping.wait(min(self._ttl / 4, 30.0)):
            try:
                kept = _renew(*self._lease, at_work=True)
                renewed = time.monotonic()
            except RecJobsError:
                # The database may be restarting: try again for as long as the lease is valid.
                kept = time.monotonic() - renewed < self._ttl
            if not kept:
                self.lost = True
                return

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _renew(
    dsn: str, schema: str, run_id: int, holder: str, seconds: float, *, at_work: bool
) -> bool:
    values = {"run_id": run_id, "holder": holder, "seconds": seconds, "at_work": at_work}
    with db.connect(dsn) as connection:
        return bool(db.execute(connection, db.query("lease/renew", schema=schema), values))


def _held(run_id: int, held: Holder | None) -> str:
    if held is None:
        return f"run {run_id} did not get the job's lease: others took and gave it back; try again"
    what = "is at work" if held.at_work else "is between two stages"
    return (
        f"run {run_id} has to wait: run {held.run_id} {what} ({held.process}, since "
        f"{held.since:%Y-%m-%d %H:%M:%S %Z}; its lease expires at {held.expires:%H:%M:%S %Z} "
        "unless it is renewed)"
    )
