"""The evaluate stage: every model's lists over the same held-out rows, and how they differ.

Ranking is over the full catalogue, without sampled negatives. The evaluated model, the baselines
and the champion make their lists the way published lists are made, fallback included, from what was
known at the split's cutoff.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recjobs import models
from recjobs.artifacts import StageOutput
from recjobs.columns import CHAMPION, POPULAR, WARM_START
from recjobs.config import Settings
from recjobs.dataset import Int32Array, Interactions
from recjobs.errors import DataError
from recjobs.evaluate.champion import Champion, champion_lists, refusal
from recjobs.evaluate.holdout import Holdout, holdout
from recjobs.evaluate.ranking import ranked
from recjobs.evaluate.ratings import rating_rows
from recjobs.evaluate.table import SCHEMA, Row, rows_of
from recjobs.evaluate.tradeoff import tradeoff
from recjobs.fallback import Fallback
from recjobs.files import write_json
from recjobs.metrics import Bootstrap
from recjobs.models import Model, RatingModel
from recjobs.progress import Progress
from recjobs.rerank import Reranker
from recjobs.split import Split


def evaluate(
    model: Model,
    log: Interactions,
    split: Split,
    settings: Settings,
    champion: Champion | None,
    out: StageOutput,
    progress: Progress,
    *,
    no_champion: str | None = None,
    warm: Model | None = None,
) -> None:
    """Judge the evaluated model, the baselines and the champion.

    Leaves ``metrics.parquet``, one row per (model, segment, metric) with the value, its interval
    (null for coverage and Gini, which no resampling of users estimates) and the users it is over,
    ``differences.json``, what the gate reads, and, where lists are re-ranked, ``tradeoff.json``.

    Args:
        model: Fitted on the split's fit and validation rows only.
        log: The whole log.
        split: Its parts.
        settings: Of the job.
        champion: The live run's evaluated model, None where there is none.
        out: Where the files go; the summary counts what was judged, and the seconds that fitting
            the baselines took.
        progress: Told the share of models done.
        no_champion: Why there is none.
        warm: On a control night: the same model, started from an earlier night's weights.
    """
    judged = holdout(log, split, settings)
    if champion is not None and (reason := refusal(champion, log, split, settings)):
        champion, no_champion = None, reason
    rerank = Reranker.of(judged.train, model, settings.rerank)
    fitting: dict[str, float] = {}
    contenders = _contenders(model, log, judged, champion, warm, settings, rerank, fitting)
    lists: dict[str, Int32Array] = {}
    for name, rank in contenders.items():
        progress(0.9 * len(lists) / len(contenders), f"{name}, {len(judged.users):,} users")
        lists[name] = rank()
    bootstrap = Bootstrap(
        settings.evaluate.bootstrap, settings.evaluate.confidence, settings.job.seed
    )
    rows, differences = rows_of(judged, model.name, lists, bootstrap)
    if isinstance(model, RatingModel) and settings.feedback.kind == "explicit":
        rows += rating_rows(model.name, model, judged, bootstrap)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), out.folder / "metrics.parquet")
    found = {
        "challenger": model.name,
        "users": {name: int(members.sum()) for name, members in judged.segments.items()},
        "drawn_from": judged.drawn_from,
        "no_champion": None if champion else no_champion,
        "differences": differences,
    }
    write_json(out.folder / "differences.json", found)
    if rerank and len(judged.users):
        write_json(out.folder / "tradeoff.json", tradeoff(model, judged, settings, rerank))
    out.summary.update(
        _summary(judged, split, rows),
        champion_run_id=champion.run_id if champion else None,
        drawn_from=judged.drawn_from,
        no_champion=found["no_champion"],
        baseline_seconds=fitting,
    )
    progress(1.0)


def _contenders(
    model: Model,
    log: Interactions,
    judged: Holdout,
    champion: Champion | None,
    warm: Model | None,
    settings: Settings,
    rerank: Reranker | None,
    fitting: dict[str, float],
) -> dict[str, Callable[[], Int32Array]]:
    """Return, by name, what makes each model's lists.

    A baseline is fitted when it is called; how long that takes is noted in ``fitting``.
    """
    train, block = judged.train, settings.score.block_users
    fallback = Fallback(train, train.candidates)

    def lists(contender: Model | None, rerank: Reranker | None = None) -> Int32Array:
        users, seen = judged.users, judged.seen
        return ranked(contender, train, users, seen, train.candidates, block, rerank, fallback)

    def baseline(name: str) -> Int32Array:
        job = settings.job
        fitted = models.make(name, {}, seed=job.seed, threads=job.training_threads)
        started = time.perf_counter()
        try:
            fitted.fit(train)
        except DataError:  # nothing to learn from, as in ratings without a positive
            return lists(None)
        fitting[name] = round(time.perf_counter() - started, 3)
        return lists(fitted)

    contenders: dict[str, Callable[[], Int32Array]] = {model.name: partial(lists, model, rerank)}
    if warm is not None:
        contenders[WARM_START] = partial(lists, warm, rerank)
    # Popularity is judged even where no baseline asks for it: it is the gate's floor.
    for name in dict.fromkeys([POPULAR, *settings.evaluate.baselines]):
        rank = partial(lists, None) if name == POPULAR else partial(baseline, name)
        contenders.setdefault(name, rank)
    if champion is not None:
        contenders[CHAMPION] = partial(champion_lists, champion, log, judged, settings)
    return contenders


def _summary(judged: Holdout, split: Split, rows: list[Row]) -> dict[str, Any]:
    return {
        "users": {name: int(members.sum()) for name, members in judged.segments.items()},
        "held_out_rows": int(split.holdout.sum()),
        "relevant": len(judged.relevant),
        "already_seen": judged.already_seen,
        "unknown_items": judged.unknown_items,
        "metrics": {
            name: {
                row["metric"]: row["value"]
                for row in rows
                if row["model"] == name and row["segment"] == "all"
            }
            for name in dict.fromkeys(row["model"] for row in rows)
        },
    }
