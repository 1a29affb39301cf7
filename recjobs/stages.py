"""What each stage reads, calls and tells the database.

Two tables are the whole of it: `WORK` turns a night's artifacts into more artifacts, `AFTER` tells
the database what a committed stage found. The second is idempotent: a resumed run says it again.
Modules that are slow to import are imported by the stage that needs them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from recjobs import earlier
from recjobs.artifacts import RunFolder, StageOutput, read_json, write_json
from recjobs.columns import POPULAR
from recjobs.config import Settings
from recjobs.expectations import Outcome, require
from recjobs.progress import Progress, within
from recjobs.runs import Run, RunStore
from recjobs.shards import Shard

if TYPE_CHECKING:
    from recjobs.dataset import Interactions
    from recjobs.evaluate import Champion
    from recjobs.models import Model
    from recjobs.score import Scorer
    from recjobs.source.parts import Parts
    from recjobs.split import Split
    from recjobs.train import Parent

#: Publications that the report lists.
_PUBLICATIONS: Final = 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Night:
    """What a stage may use: the settings (overrides applied), the run, its artifacts."""

    settings: Settings
    run: Run
    folder: RunFolder
    store: RunStore

    @property
    def as_of(self) -> int:
        """The run's instant in microseconds."""
        return microseconds(self.run.key.as_of)


def run_folder(run: Run) -> RunFolder:
    """Return a run's artifacts."""
    return RunFolder(run.artifacts, run.run_id, run.host)


def kept_parts(settings: Settings) -> Parts:
    """Return the days of the source that the job keeps between its nights."""
    from recjobs.source.parts import Parts

    job = settings.job  # of one name in several schemas there may be several
    return Parts(f"{settings.artifacts.root}/{job.name}-{job.db_schema}-days")


def microseconds(instant: datetime) -> int:
    """Return an aware time as microseconds since the epoch, exactly."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _extract(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.extract import extract

    settings, run = night.settings, night.run
    extract(
        settings.source,
        run.key.as_of,
        out,
        dsn=settings.source.resolve(),
        parts=kept_parts(settings),
        fresh=run.supersedes is not None,
        version=run.key.code_version,
        progress=progress,
    )


def _validate(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.validate import validate

    expectations, as_of = night.settings.expectations, night.run.key.as_of
    recent = night.store.recent_rows(as_of, expectations.volume_runs)
    validate(night.folder, expectations, recent, as_of, out, progress)


def _index(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.snapshot import read_snapshot
    from recjobs.split import split

    folder = night.folder
    types = folder.manifest("extract").summary
    log = read_snapshot(
        folder.path("validate", "interactions.parquet"),
        folder.path("extract", "items.parquet"),
        folder.path("extract", "users.parquet"),
        id_types=(types["user_id_type"], types["item_id_type"]),
        as_of=night.as_of,
    )
    log.save(out.folder)
    split(log, night.settings.holdout, night.as_of).save(out.folder / "split.npz")
    out.summary = {"rows": len(log), "users": len(log.users), "items": len(log.items)}


def _train(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.train import train

    log, parts = earlier.read_log(night.folder, features=True), earlier.read_split(night.folder)
    parent, why_cold = _parent(night, "train", (log, parts))
    control = parent is not None and not night.run.warm_nights
    train(log, parts, night.settings, out, progress, parent=parent, control=control)
    warm = parent is not None and not control
    out.summary.update(warm=warm, control=control, why_cold=why_cold)


def _evaluate(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.evaluate import evaluate

    champion, why_not = _champion(night)
    control = night.folder.manifest("train").summary["control"]
    evaluate(
        _model(night, "train"),
        earlier.read_log(night.folder, features=True),
        earlier.read_split(night.folder),
        night.settings,
        champion,
        out,
        progress,
        no_champion=why_not,
        warm=_model(night, "train", "warm") if control else None,
    )


def _gate(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.gate import gate

    differences = read_json(night.folder.path("evaluate", "differences.json"))
    live = night.store.anything_live()
    decided = asdict(gate(differences, night.settings.gate, anything_live=live))
    write_json(out.folder / "verdict.json", decided)
    out.summary = decided


def _refit(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.models import model_class
    from recjobs.train import Parent, refit

    found = night.folder.manifest("train").summary
    parent, why_cold = _parent(night, "refit") if found["warm"] else (None, None)
    log = earlier.read_log(night.folder, features=True)
    judged = None
    if model_class(night.run.model).goes_on:
        judged = Parent(_model(night, "train"), log.users, log.items, found["epochs"])
    refit(
        log,
        night.as_of,
        found["best_epoch"],
        found["choices"],
        night.settings,
        out,
        progress,
        parent=parent,
        judged=judged,
    )
    out.summary.update(warm=parent is not None, why_cold=why_cold)


def _score(night: Night, out: StageOutput, progress: Progress) -> None:
    """Write the lists that no shard has written, and what goes with them all."""
    from recjobs.list_rows import added

    scorer = _scorer(night)
    shards = Shard.all(night.settings.schedule.shards)
    if len(shards) == 1:
        scorer.lists(shards[0], out, within(progress, 0, 0.9))
    else:
        for shard in shards:
            span = 0.9 * (shard.number - 1) / shard.of, 0.9 * shard.number / shard.of
            _score_shard(night, shard, within(progress, *span), scorer)
        parts = [shard.part("score") for shard in shards]
        counts = added(night.folder.manifest(part).summary for part in parts)
        out.summary = {"parts": parts, **counts}
    scorer.rest(out)
    progress(1.0)


def _score_shard(
    night: Night, shard: Shard, progress: Progress, scorer: Scorer | None = None
) -> bool:
    """Commit a shard's lists as a part of their own; False where they were committed before."""
    part = shard.part("score")
    if night.folder.finished(part):
        return False
    with night.folder.writing(part) as out:
        (scorer or _scorer(night)).lists(shard, out, progress)
    return True


def _check(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.check import check

    reference = night.store.reference(night.run.key.as_of)
    lists = run_folder(reference) if reference else None
    known = lists is not None and lists.finished("score")
    check(
        night.folder.paths("score", "lists.parquet"),
        night.folder.path("score", "popular.parquet"),
        earlier.read_log(night.folder),
        night.as_of,
        lists.paths("score", "lists.parquet") if lists and known else None,
        night.settings,
        out,
        progress,
    )
    out.summary["reference_run_id"] = reference.run_id if reference and known else None


def _publish(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs import publish

    out.summary = publish.publish(
        night.settings.target.resolve(), night.settings, night.run, night.folder, progress
    )


def _publish_shard(night: Night, shard: Shard, progress: Progress) -> bool:
    """Load a shard's lists, which no reader sees yet; False where they were loaded before."""
    from recjobs import publish

    dsn = night.settings.target.resolve()
    return publish.load(dsn, night.settings, night.run, night.folder, shard, progress)


def _report(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.report import MetricPoint, Publication, ReportFacts, report

    store, run = night.store, night.store.get(night.run.run_id)
    live = store.live()
    history = store.metric_history(night.settings.gate.metric, run.key.as_of)
    # The facts have the names of the run's columns.
    same = {f.name: getattr(run, f.name) for f in fields(ReportFacts) if hasattr(run, f.name)}
    facts = ReportFacts(
        **asdict(run.key),
        **same,
        live_run_id=live.run_id if live else None,
        metric_history=[MetricPoint(**row) for row in history if row["value"] is not None],
        publications=[Publication(**row) for row in store.publications(_PUBLICATIONS)],
    )
    report(facts, night.settings, night.folder, out)


WORK: Final[dict[str, Callable[[Night, StageOutput, Progress], None]]] = {
    "extract": _extract,
    "validate": _validate,
    "index": _index,
    "train": _train,
    "evaluate": _evaluate,
    "gate": _gate,
    "refit": _refit,
    "score": _score,
    "check": _check,
    "publish": _publish,
    "report": _report,
}

#: What a shard does of a stage, beside the others; the stage does what no shard has done. False:
#: there was nothing left to do.
SHARDED: Final[dict[str, Callable[[Night, Shard, Progress], bool]]] = {
    "score": _score_shard,
    "publish": _publish_shard,
}


def _scorer(night: Night) -> Scorer:
    from recjobs.score import Scorer

    popular_only = night.run.published_source == POPULAR
    model = None if popular_only else _model(night, "refit")
    log = earlier.read_log(night.folder, features=True)
    return Scorer(model, log, night.as_of, night.settings)


def _model(night: Night, stage: str, part: str = "model") -> Model:
    return earlier.read_model(night.folder, night.run.model, stage, part)


def _champion(night: Night) -> tuple[Champion | None, str | None]:
    """Return the newest once-live run's evaluated model, or None and why there is none."""
    run = night.store.reference(night.run.key.as_of)
    if run is None:
        return None, "no run with an earlier as_of has been live"
    return earlier.champion(run, run_folder(run))


def _parent(
    night: Night, stage: str, data: tuple[Interactions, Split] | None = None
) -> tuple[Parent | None, str | None]:
    """Return what the run's parent fitted in a stage, or None and, where it has one, why not."""
    if night.run.parent_run_id is None:
        return None, None
    run = night.store.get(night.run.parent_run_id)
    return earlier.parent(run, run_folder(run), stage, night.settings, data)


def _after_extract(night: Night, summary: Mapping[str, Any]) -> None:
    counts = {"extracted": summary["rows"]}
    night.store.update(night.run.run_id, snapshot_digest=summary["digest"], counts=counts)


def _after_validate(night: Night, summary: Mapping[str, Any]) -> None:
    run_id = night.run.run_id
    counts = {"rows": summary["rows"], "rejected": sum(summary["rejected"].values())}
    night.store.update(run_id, counts=counts)
    night.store.record_rejected(run_id, night.folder.path("validate", "rejected.parquet"))
    _record(night, summary["outcomes"])


def _after_index(night: Night, summary: Mapping[str, Any]) -> None:
    counts = {"users": summary["users"], "items": summary["items"]}
    night.store.update(night.run.run_id, counts=counts)


def _after_train(night: Night, summary: Mapping[str, Any]) -> None:
    if not summary["warm"]:
        night.store.update(night.run.run_id, warm_nights=0)


def _after_evaluate(night: Night, summary: Mapping[str, Any]) -> None:
    run_id = night.run.run_id
    night.store.record_metrics(run_id, night.folder.path("evaluate", "metrics.parquet"))
    night.store.update(run_id, champion_run_id=summary["champion_run_id"])


def _after_gate(night: Night, summary: Mapping[str, Any]) -> None:
    if night.run.decision == "promoted":
        return  # a person has decided otherwise since
    source = summary["publish"]
    changes = {"decision": summary["decision"], "rule": summary["rule"]}
    if source == "nothing":
        night.store.update(night.run.run_id, status="held", **changes)
    else:
        night.store.update(night.run.run_id, published_source=source, **changes)


def _after_check(night: Night, summary: Mapping[str, Any]) -> None:
    night.store.update(night.run.run_id, reference_run_id=summary["reference_run_id"])
    _record(night, summary["outcomes"])
    if night.run.dry_run:
        night.store.update(night.run.run_id, status="dry_run")


def _after_publish(night: Night, summary: Mapping[str, Any]) -> None:
    changes = {"why_not_live": summary["why_not_live"], "counts": {"lists": summary["rows"]}}
    night.store.update(night.run.run_id, status="stored", **changes)
    _prune(night)


def _prune(night: Night) -> None:
    """Remove the files of runs beyond ``artifacts.keep_runs`` that nobody can need any more.

    Nobody's night fails for want of a clean-up: what can't be removed is left with a warning.
    """
    for place in night.store.prunable(night.settings.artifacts.keep_runs):
        try:
            RunFolder(*place).remove()
        except Exception as error:  # whatever the store of an old run raises
            _logger.warning("files of a run in %s stay: %s", place[0], error)


def _record(night: Night, rows: Sequence[Mapping[str, Any]]) -> None:
    outcomes = [Outcome(**row) for row in rows]
    night.store.record_outcomes(night.run.run_id, outcomes)
    require(outcomes)


AFTER: Final[dict[str, Callable[[Night, Mapping[str, Any]], None]]] = {
    "extract": _after_extract,
    "validate": _after_validate,
    "index": _after_index,
    "train": _after_train,
    "evaluate": _after_evaluate,
    "gate": _after_gate,
    "check": _after_check,
    "publish": _after_publish,
}
