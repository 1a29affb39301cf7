"""What the report needs from the database: handed in, so that it is made without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """One model's value of the gate's metric on one night, of all users.

    Attributes:
        run_id: The run that measured it.
        as_of: The night.
        model: The model's name, a baseline's too.
        value: The metric.
        low: The interval's lower end, where there is one.
        high: The interval's upper end, where there is one.
        was_live: Whether the run was ever live.
    """

    run_id: int
    as_of: datetime
    model: str
    value: float
    low: float | None = None
    high: float | None = None
    was_live: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """One time that a run was live: a row of the table ``publication``.

    Attributes:
        run_id: The run.
        kind: How it went live: ``publish``, ``promote`` or ``rollback``.
        live_from: When its lists went live.
        live_until: When another run's took over; None for the live one.
        rolled_back: Whether a rollback ended it.
        decided_by: Who or what decided.
        why: The reason given.
    """

    run_id: int
    kind: str
    live_from: datetime
    live_until: datetime | None
    rolled_back: bool
    decided_by: str
    why: str


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """The row of the table ``run`` as it is when the page is written, and what stands around it.

    Attributes that are columns of ``run`` have the column's name.

    Attributes:
        run_id: The run.
        as_of: The night, an aware instant.
        status: ``running``, ``failed``, ``held``, ``dry_run`` or ``stored``.
        model: The model's name.
        settings_hash: Part of the key.
        code_version: Part of the key.
        seed: Part of the key.
        training_threads: Part of the key.
        started_at: When the run began.
        stage: The stage that failed, where one did.
        killed: Whether its stage began, did not end, and no process is at work on the run.
        error: Why it failed, ``"DataError: no rows …"``: the class of the error tree, then its
            message.
        decision: The gate's decision: ``promote``, ``hold`` or ``undecided``.
        rule: The rule that decided.
        published_source: ``"model"`` or ``"popular"``: whose lists were published.
        live_run_id: The run whose lists are being served, this one or another; None for none.
        dry_run: Whether the run was never to publish.
        overrides: Settings that the run was given by hand, by dotted key.
        champion_run_id: Whose evaluated model the gate compared with.
        reference_run_id: Whose lists tonight's are held against.
        supersedes: The run of the same key that this one replaces.
        parent_run_id: The run from whose weights the model was to start.
        warm_nights: Nights in a row that started so, this one included.
        snapshot_digest: Part of the key, once the snapshot is taken.
        host: The machine that began the run.
        timings: Seconds by stage, for a stage that left no manifest (the failed one).
        metric_history: Oldest first; the gate's metric, this run's own point included.
        publications: Newest first.
    """

    run_id: int
    as_of: datetime
    status: str
    model: str
    settings_hash: str
    code_version: str
    seed: int
    training_threads: int
    started_at: datetime
    stage: str | None = None
    killed: bool = False
    error: str | None = None
    decision: str | None = None
    rule: str | None = None
    published_source: str | None = None
    live_run_id: int | None = None
    dry_run: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    champion_run_id: int | None = None
    reference_run_id: int | None = None
    supersedes: int | None = None
    parent_run_id: int | None = None
    warm_nights: int = 0
    snapshot_digest: str | None = None
    host: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    metric_history: Sequence[MetricPoint] = ()
    publications: Sequence[Publication] = ()
