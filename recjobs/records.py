"""What a committed stage tells the database: what it counted, found and decided.

A resumed run says it again: each of these leaves what is there as it is, or replaces it.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from recjobs.artifacts import RunFolder
from recjobs.expectations import Outcome, require
from recjobs.night import Night

_logger = logging.getLogger(__name__)


def _extract(night: Night, summary: Mapping[str, Any]) -> None:
    counts = {"extracted": summary["rows"]}
    night.store.update(night.run.run_id, snapshot_digest=summary["digest"], counts=counts)


def _validate(night: Night, summary: Mapping[str, Any]) -> None:
    run_id = night.run.run_id
    counts = {"rows": summary["rows"], "rejected": sum(summary["rejected"].values())}
    night.store.update(run_id, counts=counts)
    night.store.record_rejected(run_id, night.folder.path("validate", "rejected.parquet"))
    _outcomes(night, summary["outcomes"])


def _index(night: Night, summary: Mapping[str, Any]) -> None:
    counts = {"users": summary["users"], "items": summary["items"]}
    night.store.update(night.run.run_id, counts=counts)


def _train(night: Night, summary: Mapping[str, Any]) -> None:
    if not summary["warm"]:
        night.store.update(night.run.run_id, warm_nights=0)


def _evaluate(night: Night, summary: Mapping[str, Any]) -> None:
    run_id = night.run.run_id
    night.store.record_metrics(run_id, night.folder.path("evaluate", "metrics.parquet"))
    night.store.update(run_id, champion_run_id=summary["champion_run_id"])


def _gate(night: Night, summary: Mapping[str, Any]) -> None:
    if night.run.decision == "promoted":
        return  # a person has decided otherwise since
    source = summary["publish"]
    changes = {"decision": summary["decision"], "rule": summary["rule"]}
    if source == "nothing":
        changes |= {"status": "held", "error": None, "published_source": None}
    else:
        changes |= {"published_source": source}
    night.store.update(night.run.run_id, **changes)


def _check(night: Night, summary: Mapping[str, Any]) -> None:
    night.store.update(night.run.run_id, reference_run_id=summary["reference_run_id"])
    _outcomes(night, summary["outcomes"])
    if night.run.dry_run:
        night.store.update(night.run.run_id, status="dry_run", error=None)


def _publish(night: Night, summary: Mapping[str, Any]) -> None:
    changes = {"why_not_live": summary["why_not_live"], "counts": {"lists": summary["rows"]}}
    night.store.update(night.run.run_id, status="stored", error=None, **changes)
    _prune(night)


def _prune(night: Night) -> None:
    """Remove the files of runs beyond ``artifacts.keep_runs`` that nobody can need any more.

    Nobody's night fails for want of a clean-up: what can't be removed is left with a warning.
    """
    keep = night.settings.artifacts.keep_runs
    for artifacts, run_id, host in night.store.prunable(night.run.run_id, keep):
        try:
            if RunFolder(artifacts, run_id, host).remove() or host == socket.gethostname():
                night.store.update(run_id, files_removed_at=datetime.now(UTC))
        except Exception as error:  # whatever the store of an old run, or the database, raises
            _logger.warning("files of a run in %s stay: %s", artifacts, error)


def _outcomes(night: Night, rows: Sequence[Mapping[str, Any]]) -> None:
    outcomes = [Outcome(**row) for row in rows]
    night.store.record_outcomes(night.run.run_id, outcomes)
    require(outcomes)


RECORD: Final[dict[str, Callable[[Night, Mapping[str, Any]], None]]] = {
    "extract": _extract,
    "validate": _validate,
    "index": _index,
    "train": _train,
    "evaluate": _evaluate,
    "gate": _gate,
    "check": _check,
    "publish": _publish,
}
