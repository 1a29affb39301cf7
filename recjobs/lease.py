"""The job's lease: one run of a job at a time, whichever processes run its stages.

A row in the database names the run, the process at work and when it expires, by the database's
clock. No session state is used, so it works through a transaction pooler. While a stage runs a
thread renews the lease; between two stages the run keeps it for a while, and any process may go on.
The shards of a stage have a row each, all of one run: they share the lease among themselves alone.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
        ttl: Seconds from a renewal to the expiry.
        silent: Seconds since the last renewal.
    """

    run_id: int
    process: str
    at_work: bool
    since: datetime
    expires: datetime
    ttl: float
    silent: float

    @property
    def patience(self) -> float:
        """Seconds for which a living process at work is never silent."""
        return 1.5 * beat(self.ttl)

    def is_gone(self) -> bool:
        """Tell whether the process was at work on this machine and can't be found here.

        That is a suspicion: containers may share a host's name and not see each other's processes.
        """
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


def acquire(
    dsn: str,
    schema: str,
    run_id: int,
    holder: str,
    seconds: float,
    *,
    part: str = "",
    at_work: bool = True,
) -> None:
    """Take the lease for a run, or for a part of its work that other parts may be done beside.

    It can be had where it is free or expired, where the same run holds it and none of its other
    processes is at work on the same part or on the whole, and where the holder was a process of
    this machine that died at work: to tell that, this may wait some seconds for a renewal that does
    not come.

    Args:
        dsn: The target database.
        schema: The job's schema.
        run_id: The run.
        holder: This process, ``host:pid``.
        seconds: Until it expires, unless it is renewed.
        part: Of the run's work; empty for the whole, beside which nothing else is done.
        at_work: False where the lease is only kept, for whichever process goes on.

    Raises:
        LeaseHeldError: Another run holds it, or another process works on this run.
    """
    values = {
        "run_id": run_id, "holder": holder, "part": part, "at_work": at_work, "seconds": seconds,
    }  # fmt: skip
    dead: list[str] = []
    while (held := _taken_or_held(dsn, schema, {**values, "dead": dead})) is not None:
        if not held.is_gone() or held.process in dead:
            raise LeaseHeldError(_held(run_id, held))
        if held.silent > held.patience:  # and gone: it died at work
            dead.append(held.process)
        else:
            time.sleep(min(0.1, held.patience))


def _taken_or_held(dsn: str, schema: str, values: Mapping[str, Any]) -> Holder | None:
    """Take the lease and return None, or return who holds it."""
    with db.connect(dsn) as connection:
        db.execute(connection, db.query("lease/lock"), {"schema": schema})
        for row in db.execute(connection, db.query("lease/blocking", schema=schema), values):
            return Holder(*row)
        db.execute(connection, db.query("lease/take", schema=schema), values)
        db.execute(connection, db.query("lease/clear", schema=schema), values)
    return None


def holders(dsn: str, schema: str, run_id: int) -> list[Holder]:
    """Return who holds a run's lease, dead perhaps, or keeps it between two stages."""
    with db.connect(dsn) as connection:
        query = db.query("lease/holders", schema=schema)
        return [Holder(*row) for row in db.execute(connection, query, {"run_id": run_id})]


def goes_on(dsn: str, schema: str, run_id: int) -> bool:
    """Tell whether a process is at work on a run, or has just ended a stage of it.

    One that was killed a moment ago still holds the lease, so this may wait some seconds for a
    renewal that does not come.
    """
    first: set[datetime] = set()
    while True:
        held = holders(dsn, schema, run_id)
        expiries = {each.expires for each in held}
        first = first or expiries
        if expiries - first or not all(each.at_work for each in held):
            return True
        if all(each.silent > each.patience for each in held):
            return False
        time.sleep(0.1)


def beat(ttl: float) -> float:
    """Return after how many seconds a lease of so many is renewed."""
    return min(ttl / 4, 5.0)


def release(dsn: str, schema: str, run_id: int) -> None:
    """Give the lease back, if the run holds it and none of its processes is at work."""
    with db.connect(dsn) as connection:
        db.execute(connection, db.query("lease/release", schema=schema), {"run_id": run_id})


@contextmanager
def holding(
    dsn: str,
    schema: str,
    run_id: int,
    holder: str,
    ttl: float,
    handover: float,
    part: str = "",
) -> Iterator[Callable[[], None]]:
    """Hold the lease while the block runs, renewed by a thread; then keep it for the next stage.

    Gives the block what refuses to go on where the lease was lost, with a `LeaseHeldError`: to be
    called before anything is committed that another process may have done meanwhile.

    Args:
        dsn: The target database.
        schema: The job's schema.
        run_id: The run.
        holder: This process, ``host:pid``.
        ttl: Seconds; a holder that has been silent so long has lost the lease.
        handover: Seconds; how long the run keeps it after the block.
        part: Of the run's work, as in `acquire`.

    Raises:
        LeaseHeldError: Another run holds it; or it was lost while the block ran.
    """
    acquire(dsn, schema, run_id, holder, ttl, part=part)
    ours = {"run_id": run_id, "holder": holder, "part": part}
    heart = _Heart(dsn, schema, ours, ttl)
    heart.start()
    try:
        yield heart.require
    except BaseException:
        heart.stop()
        with suppress(RecJobsError):  # the stage's own failure is the one to be told
            _renew(dsn, schema, ours, handover, at_work=False)
        raise
    heart.stop()
    if heart.lost or not _renew(dsn, schema, ours, handover, at_work=False):
        raise _lost(ours, ttl)


class _Heart(threading.Thread):
    """Renews the lease until it is stopped or the lease is lost."""

    def __init__(self, dsn: str, schema: str, ours: Mapping[str, Any], ttl: float) -> None:
        super().__init__(name=f"lease of run {ours['run_id']}", daemon=True)
        self.lost = False  # the row is another's, or gone: for good
        self._silent = False  # no answer for as long as the lease is valid
        self._lease = (dsn, schema, ours, ttl)
        self._ttl = ttl
        self._renewed = time.monotonic()
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self.lost and not self._stopping.wait(beat(self._ttl)):
            self._beat()

    def require(self) -> None:
        """Refuse to go on without the lease; asked of the database, not of the last beat."""
        self._beat()
        if self.lost or self._silent:
            raise _lost(*self._lease[2:])

    def _beat(self) -> None:
        asked = time.monotonic()
        try:
            if _renew(*self._lease, at_work=True):
                self._renewed, self._silent = asked, False
            else:
                self.lost = True
        except RecJobsError:
            # The database may be restarting: once it answers, it tells whether anybody took it.
            self._silent = time.monotonic() - self._renewed >= self._ttl

    def stop(self) -> None:
        self._stopping.set()
        self.join()


def _renew(
    dsn: str, schema: str, ours: Mapping[str, Any], seconds: float, *, at_work: bool
) -> bool:
    values = {**ours, "seconds": seconds, "at_work": at_work}
    with db.connect(dsn) as connection:
        return bool(db.execute(connection, db.query("lease/renew", schema=schema), values))


def _lost(ours: Mapping[str, Any], ttl: float) -> LeaseHeldError:
    return LeaseHeldError(
        f"run {ours['run_id']} lost the job's lease while a stage was at work: {ours['holder']} "
        f"could not renew it in time (lease.ttl_seconds = {ttl:g}), or another process took it. "
        "What the stage had not committed by then is gone; run it again."
    )


def _held(run_id: int, held: Holder) -> str:
    what = "is at work" if held.at_work else "is between two stages"
    return (
        f"run {run_id} has to wait: run {held.run_id} {what} ({held.process}, since "
        f"{held.since:%Y-%m-%d %H:%M:%S %Z}; its lease expires at {held.expires:%H:%M:%S %Z} "
        "unless it is renewed)"
    )
