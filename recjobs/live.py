"""How a run goes live, by itself or by name, and the way back.

Each is two transactions: the run's lists are attached in the first, readers are pointed at it in
the second, and between the two those readers end that can't know of the new partition yet
(`pointer.settle`). A kill in between leaves a run attached and not live: the same call goes on
from there.
"""

from __future__ import annotations

import logging

from recjobs import db, partitions, pointer
from recjobs.errors import CheckFailedError, ConfigError, DatabaseError
from recjobs.partitions import Parent
from recjobs.pointer import Job
from recjobs.sweep import sweep

_logger = logging.getLogger(__name__)


def publish(job: Job, run_id: int, n: int, *, by: str, why: str) -> tuple[str | None, list[str]]:
    """Make a loaded run live if it may go live by itself, else archive it.

    Args:
        job: Whose run it is.
        run_id: The run; it holds the job's lease.
        n: Length of a list, spares left out.
        by: Who decides.
        why: The reason to be kept.

    Returns:
        None where the run is live, else why it is not; and a warning of readers that had not ended
        when the pointer was moved.

    Raises:
        LeaseHeldError: The run does not hold the job's lease any more: nothing is changed.
    """

    def store(connection: db.PgConnection) -> bool:
        pointer.require_lease(connection, job.schema, run_id)
        place = pointer.lists_in(connection, job.schema, run_id)
        if place not in ("top_n_list", "top_n_archive"):
            refused = pointer.why_not_live(connection, job.schema, run_id)
            parent: Parent = "top_n_archive" if refused else "top_n_list"
            partitions.attach(connection, job.schema, run_id, parent)
            pointer.record(connection, job.schema, run_id, parent, n)
            place = parent
        ever_live = pointer.standing(connection, job.schema, run_id).ever_live
        return place == "top_n_list" and not ever_live

    def flip(connection: db.PgConnection) -> str | None:
        pointer.require_lease(connection, job.schema, run_id)
        now = pointer.standing(connection, job.schema, run_id)
        if now.live_run_id == run_id:
            return None
        if now.ever_live:
            return f"it was live before; run {now.live_run_id} is now"
        refused = pointer.why_not_live(connection, job.schema, run_id)
        if refused is None and pointer.lists_in(connection, job.schema, run_id) != "top_n_list":
            refused = "it was archived when it was published: it needs `promote`"
        if refused is None:
            pointer.point(connection, job.schema, run_id, "publish", by=by, why=why)
        return refused

    warnings = pointer.settle(job) if pointer.locked(job, store) else []
    return pointer.locked(job, flip), warnings


def promote(job: Job, run_id: int, *, by: str, why: str) -> bool:
    """Make a stored run live because a person says so; False where it was live already.

    Raises:
        CheckFailedError: Its completeness or its seen-item check did not pass.
        ConfigError: Its lists are not in the database, or the live run is pinned.
    """

    def unpinned(connection: db.PgConnection) -> pointer.Standing:
        now = pointer.standing(connection, job.schema, run_id)
        if now.pinned:
            raise ConfigError(
                f"run {now.live_run_id} is pinned by {now.pinned_by} "
                f"({now.pinned_why or 'no reason given'}): recjobs rollback --unpin first"
            )
        return now

    def bring(connection: db.PgConnection) -> bool:
        now = unpinned(connection)
        if failed := pointer.failed_checks(connection, job.schema, run_id):
            raise CheckFailedError(f"run {run_id} can't be promoted: {failed}")
        _bring(connection, job.schema, run_id)
        return now.live_run_id != run_id

    def flip(connection: db.PgConnection) -> None:
        unpinned(connection)
        _require_attached(connection, job.schema, run_id)
        pointer.point(connection, job.schema, run_id, "promote", by=by, why=why)

    sweep(job)  # an earlier partition of the run may be on its way out
    if not pointer.locked(job, bring):
        return False
    _settle(job)
    pointer.locked(job, flip)
    return True


def rollback(job: Job, *, pin: bool, by: str, why: str) -> int:
    """Make the run that was live before the live one live again, and return it.

    Raises:
        ConfigError: There is none that is still kept.
    """

    def bring(connection: db.PgConnection) -> tuple[int | None, int]:
        found = pointer.rows(connection, "live/previous", job.schema)
        if not found:
            raise ConfigError(
                "there is no run to go back to: no other run that was live, and was not taken back "
                "itself, is still kept. See: recjobs status"
            )
        run_id = int(found[0][0])
        _bring(connection, job.schema, run_id)
        return pointer.standing(connection, job.schema, run_id).live_run_id, run_id

    def flip(connection: db.PgConnection) -> None:
        now = pointer.standing(connection, job.schema, run_id)
        if now.live_run_id != taken_back:
            raise DatabaseError(
                f"run {now.live_run_id} went live while run {taken_back} was being taken back: "
                "look again before you repeat it"
            )
        _require_attached(connection, job.schema, run_id)
        pointer.point(connection, job.schema, run_id, "rollback", by=by, why=why)
        if pin:
            pointer.pin(connection, job.schema, pinned=True, by=by, why=why)

    sweep(job)  # an earlier partition of the run may be on its way out
    taken_back, run_id = pointer.locked(job, bring)
    _settle(job, pointer.URGENT_SECONDS)
    pointer.locked(job, flip)
    return run_id


def unpin(job: Job) -> None:
    """Let runs go live by themselves again.

    Raises:
        ConfigError: Nothing is live.
    """
    pointer.locked(job, lambda c: pointer.pin(c, job.schema, pinned=False, by=None, why=None))


def _settle(job: Job, longest: float | None = None) -> None:
    for warning in pointer.settle(job, longest):
        _logger.warning("%s", warning)


def _bring(connection: db.PgConnection, schema: str, run_id: int) -> None:
    """Attach a run's lists, from the archive if that is where they are."""
    place = pointer.lists_in(connection, schema, run_id)
    if place == "top_n_archive":
        partitions.copy(connection, schema, run_id, "top_n_archive", "top_n_list")
        partitions.attach(connection, schema, run_id, "top_n_list")
        pointer.record(connection, schema, run_id, "top_n_list")
    elif place != "top_n_list":
        what = "were dropped, for they were too old" if place else "were never published"
        raise ConfigError(f"run {run_id} can't go live: its lists {what}")


def _require_attached(connection: db.PgConnection, schema: str, run_id: int) -> None:
    if pointer.lists_in(connection, schema, run_id) != "top_n_list":
        raise DatabaseError(f"the lists of run {run_id} were archived just now: do it again")
