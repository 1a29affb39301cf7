"""The check stage: completeness, seen items, duplicates, candidates, coverage; lost lists, churn.

The lists are streamed in batches, so that memory is set by the batch and not by the number of
users. Nothing here trusts the scorer: what a user has seen is read from the log once more, and so
are candidates and the users to serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs.artifacts import RunFolder, StageOutput
from recjobs.check.batches import Batch, batches
from recjobs.check.churn import Churn
from recjobs.config import Level, Settings
from recjobs.dataset import BoolArray, Int64Array, Interactions, candidates_of, seen_rows
from recjobs.expectations import Outcome
from recjobs.progress import Progress
from recjobs.threads import ahead


@dataclass(slots=True)
class _Counts:
    """What was found, counted over all batches."""

    recommended: BoolArray  #: ``(n_items,)``
    served: BoolArray  #: ``(n_users,)``
    rows: int = 0
    strangers: int = 0
    out_of_order: int = 0
    short: int = 0
    ragged: int = 0
    seen: int = 0
    duplicates: int = 0
    not_candidates: int = 0
    last_user: int = -1


def check(
    lists: Sequence[Path],
    popular: Path,
    log: Interactions,
    as_of: int,
    reference: RunFolder | None,
    settings: Settings,
    out: StageOutput,
    progress: Progress,
    *,
    lists_before: int | None = None,
) -> None:
    """Hold the scored lists against the expectations of ``[check]``.

    Leaves the outcomes, the reference run that the lists were held against and the churn (None
    without one) and the coverage in the summary; the caller stops the night where an outcome says
    so.

    Args:
        lists: ``lists.parquet`` of the score stage, of each part.
        popular: ``popular.parquet`` of the score stage.
        log: The whole log before ``as_of``.
        as_of: Microseconds.
        reference: The reference run; None where there is none. Where it can't be read any more the
            churn is not counted, and a warning says so: that stops no night.
        settings: Of the job; ``[feedback]``, ``[score]`` and ``[check]`` are read.
        out: Takes the summary.
        progress: Told the share of rows done.
        lists_before: How many lists the reference run has published; None where that is not known,
            and its files are asked.

    Raises:
        DataError: A file of tonight has not the columns that the score stage writes.
    """
    everything = np.ones(len(log), dtype=np.bool_)
    seen = seen_rows(log, everything, as_of, settings.feedback.exclude_seen)
    indptr = log.indptr
    candidates = candidates_of(log, everything, as_of, settings.feedback)
    n = settings.score.n
    counts = _Counts(
        recommended=np.zeros(len(log.items), dtype=np.bool_),
        served=np.zeros(len(log.users), dtype=np.bool_),
    )
    churn = None if reference is None else Churn(reference, lists_before, log, n)
    total = max(sum(pq.read_metadata(path).num_rows for path in lists), 1)
    for batch in ahead(batches(lists, log)):
        _count_rows(batch, counts, log.eligible, n)
        _count_entries(batch, counts, log, indptr, seen, candidates, n)
        if churn is not None:
            churn.add(batch)
        progress(counts.rows / total, f"{counts.rows:,} lists")
    coverage = float((counts.recommended & candidates).sum() / max(int(candidates.sum()), 1))
    fallback = _popular_problem(popular, log, candidates, n)
    outcomes = [
        _completeness(counts, log.eligible, fallback, settings),
        *_contents(counts, settings),
        _coverage(coverage, settings),
        *(churn.outcomes(counts.rows, settings) if churn else []),
    ]
    out.summary.update(
        outcomes=[asdict(outcome) for outcome in outcomes if outcome.level != "off"],
        churn=churn.mean if churn else None,
        reference_run_id=reference.run_id if reference and churn and churn.lists else None,
        coverage=coverage,
    )


def _count_rows(batch: Batch, counts: _Counts, eligible: BoolArray, n: int) -> None:
    users = batch.user_idx
    counts.rows += len(users)
    known = users[users >= 0]
    counts.served[known] = True
    counts.strangers += len(users) - int(eligible[known].sum())
    counts.out_of_order += int((np.diff(users, prepend=np.int32(counts.last_user)) <= 0).sum())
    counts.last_user = int(users[-1])
    counts.short += int(((batch.length < n) & ~batch.explained).sum())
    counts.ragged += int(batch.ragged.sum())


def _count_entries(
    batch: Batch,
    counts: _Counts,
    log: Interactions,
    indptr: Int64Array,
    seen: BoolArray,
    candidates: BoolArray,
    n: int,
) -> None:
    from recjobs.check.kernels import count_faults

    n_seen, n_twice, n_others = count_faults(
        batch.user_idx, batch.bounds, batch.item_idx, n,
        indptr, log.item_idx, seen, candidates, counts.recommended,
    )  # fmt: skip
    counts.seen += n_seen
    counts.duplicates += n_twice
    counts.not_candidates += n_others


def _popular_problem(path: Path, log: Interactions, candidates: BoolArray, n: int) -> str:
    """Return what is wrong with the lists for users whom the run has never seen, or ""."""
    wanted = min(n, int(candidates.sum()))
    if not wanted:
        return "no item is a candidate; look at the items table and its column of availability"
    segments = pq.read_table(path, columns=["segment", "item_ids"]).to_pylist()
    for segment in segments:
        items = log.items.encode(pa.array(segment["item_ids"], log.items.ids.type))
        name = f"the popular list {segment['segment']!r}"
        if len(items) < wanted:
            return f"{name} has {len(items)} items where {wanted} are needed"
        if len(np.unique(items)) < len(items):
            return f"{name} holds an item twice"
        if (items < 0).any() or not candidates[items].all():
            return f"{name} holds an item that is not a candidate"
    return "" if segments else "there is no popular list, for users whom the run has not seen"


def _completeness(
    counts: _Counts, eligible: BoolArray, fallback: str, settings: Settings
) -> Outcome:
    found = {
        "eligible users have no list": int((eligible & ~counts.served).sum()),
        "lists are of users who are not eligible": counts.strangers,
        "lists are out of the order of user_id, or a user's second one": counts.out_of_order,
        f"lists have fewer than {settings.score.n} items and no reason": counts.short,
        "lists have more or fewer scores, sources or reasons than items": counts.ragged,
    }
    problems = [f"{count:,} {what}" for what, count in found.items() if count]
    problems += [fallback] if fallback else []
    if not eligible.any():
        problems.append("no user is eligible; look at the users table and its column `active`")
    return _none_of(
        "completeness",
        settings.check.completeness,
        sum(found.values()) + bool(fallback) + (not eligible.any()),
        "; ".join(problems) or f"each of {eligible.sum():,} eligible users has a list or a reason",
    )


def _contents(counts: _Counts, settings: Settings) -> list[Outcome]:
    limits, feedback = settings.check, settings.feedback
    return [
        _none_of(
            "seen_items",
            limits.seen_items,
            counts.seen,
            f"{counts.seen:,} items on the lists were seen by their user, and "
            f"feedback.exclude_seen is {feedback.exclude_seen!r}",
        ),
        _none_of(
            "duplicates",
            limits.duplicates,
            counts.duplicates,
            f"{counts.duplicates:,} items are on the same list more than once",
        ),
        _none_of(
            "candidates",
            limits.candidates,
            counts.not_candidates,
            f"{counts.not_candidates:,} items on the lists may not be recommended: unknown before "
            "as_of, not available, or below feedback.min_item_interactions",
        ),
    ]


def _coverage(coverage: float, settings: Settings) -> Outcome:
    limit = settings.check.min_coverage
    return Outcome(
        stage="check",
        name="coverage",
        level=settings.check.coverage,
        passed=coverage >= limit,
        observed=coverage,
        expected=limit,
        message=f"{coverage:.2%} of the candidates are in someone's top {settings.score.n}; below "
        f"check.min_coverage = {limit:.2%} nearly everyone is shown the same",
    )


def _none_of(name: str, level: Level, found: int, message: str) -> Outcome:
    return Outcome("check", name, level, found == 0, float(found), 0.0, message)
