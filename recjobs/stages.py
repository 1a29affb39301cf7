"""What each stage reads and calls: artifacts of the run in, more of them out.

Modules that are slow to import are imported by the stage that needs them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Final

from recjobs import earlier
from recjobs.artifacts import StageOutput
from recjobs.columns import POPULAR
from recjobs.files import read_json, write_json
from recjobs.night import Night, kept_parts
from recjobs.progress import Progress, within
from recjobs.read_back import read_log, read_model, read_split
from recjobs.runs import run_folder
from recjobs.shards import Shard

if TYPE_CHECKING:
    from recjobs.models import Model
    from recjobs.score import Scorer

#: Publications that the report lists.
_PUBLICATIONS: Final = 10


def _extract(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.extract import extract

    settings, run = night.settings, night.run
    extract(
        settings.source,
        run.key.as_of,
        out,
        dsn=settings.source.resolve(),
        parts=kept_parts(settings),
        fresh=run.fresh,
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
    items = night.settings.source.items
    log = read_snapshot(
        folder.path("validate", "interactions.parquet"),
        folder.path("extract", "items.parquet"),
        folder.path("extract", "users.parquet"),
        id_types=(types["user_id_type"], types["item_id_type"]),
        as_of=night.as_of,
        catalogue=bool(items.available or items.available_sql),
    )
    with ThreadPoolExecutor(1) as pool:
        saved = pool.submit(log.save, out.folder)
        split(log, night.settings.holdout, night.as_of).save(out.folder / "split.npz")
        saved.result()
    out.summary = {"rows": len(log), "users": len(log.users), "items": len(log.items)}


def _train(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.train import train

    log, parts = read_log(night.folder, features=True), read_split(night.folder)
    parent, why_cold = earlier.parent(night, "train", (log, parts))
    control = parent is not None and not night.run.warm_nights
    train(log, parts, night.settings, out, progress, parent=parent, control=control)
    warm = parent is not None and not control
    out.summary.update(warm=warm, control=control, why_cold=why_cold)


def _evaluate(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.evaluate import evaluate

    champion, why_not = earlier.champion(night)
    control = night.folder.manifest("train").summary["control"]
    evaluate(
        _model(night, "train"),
        read_log(night.folder, features=True),
        read_split(night.folder),
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
    parent, why_cold = earlier.parent(night, "refit") if found["warm"] else (None, None)
    log = read_log(night.folder, features=True)
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
        night.require_lease()
    return True


def _check(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs.check import check

    # Not one that was taken back: it is no measure, and every night would differ from it.
    reference = night.store.reference(night.run.key.as_of, kept=True)
    check(
        night.folder.paths("score", "lists.parquet"),
        night.folder.path("score", "popular.parquet"),
        read_log(night.folder),
        night.as_of,
        run_folder(reference) if reference else None,
        night.settings,
        out,
        progress,
        lists_before=reference.counts.get("lists") if reference else None,
    )


def _publish(night: Night, out: StageOutput, progress: Progress) -> None:
    from recjobs import publish

    out.summary = publish.publish(night.settings, night.run, night.folder, progress)


def _publish_shard(night: Night, shard: Shard, progress: Progress) -> bool:
    """Load a shard's lists, which no reader sees yet; False where they were loaded before."""
    from recjobs import publish

    return publish.load(night.settings, night.run, night.folder, shard, progress)


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
        killed=store.was_killed(run),
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
    log = read_log(night.folder, features=True)
    return Scorer(model, log, night.as_of, night.settings)


def _model(night: Night, stage: str, part: str = "model") -> Model:
    threads = night.settings.job.training_threads
    return read_model(night.folder, night.run.model, stage, part, threads=threads)
