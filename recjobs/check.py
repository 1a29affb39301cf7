"""The last look at the scored lists before anyone reads them.

The lists are streamed in batches, with numpy over each batch, so that memory is set by the batch
and not by the number of users. Nothing here trusts the scorer: seen items, candidates and the users
to serve are looked up again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.artifacts import StageOutput
from recjobs.columns import REASON, USER_ID
from recjobs.config import Level, Settings
from recjobs.dataset import (
    BoolArray,
    Int32Array,
    Int64Array,
    Interactions,
    SeenItems,
    seen_items,
    training_set,
)
from recjobs.errors import DataError
from recjobs.expectations import Outcome
from recjobs.progress import Progress

_BATCH_USERS = 8192
_PER_ITEM = ("item_ids", "scores", "sources", "because_item_ids")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some rows of a ``lists.parquet``, encoded.

    Attributes:
        user_idx: int32, ``(n_rows,)``; -1 for an unknown user.
        row: int64, ``(n_entries,)``; the row of each entry.
        rank: int64, ``(n_entries,)``; from 0 within a row.
        item_idx: int32, ``(n_entries,)``; -1 for an unknown or null item.
        length: int64, ``(n_rows,)``; entries per row.
        explained: bool, ``(n_rows,)``; rows with a reason.
        ragged: bool, ``(n_rows,)``; rows whose scores, sources or reasons differ in number.
    """

    user_idx: Int32Array
    row: Int64Array
    rank: Int64Array
    item_idx: Int32Array
    length: Int64Array
    explained: BoolArray
    ragged: BoolArray


@dataclass(slots=True)
class _Counts:
    """What is wrong, counted over all batches."""

    rows: int = 0
    eligible_rows: int = 0
    out_of_order: int = 0
    short: int = 0
    ragged: int = 0
    seen: int = 0
    duplicates: int = 0
    not_candidates: int = 0
    replaced: float = 0.0
    compared: int = 0
    last_user: int = -1
    recommended: BoolArray = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


def check(
    lists: Path,
    popular: Path,
    log: Interactions,
    as_of: int,
    reference: Path | None,
    settings: Settings,
    out: StageOutput,
    progress: Progress,
) -> None:
    """Hold the scored lists against the expectations of ``[check]``.

    Leaves the outcomes, the churn (None without a reference) and the coverage in the summary; the
    caller stops the night where an outcome says so.

    Args:
        lists: ``lists.parquet`` of the score stage.
        popular: ``popular.parquet`` of the score stage.
        log: The whole log before ``as_of``.
        as_of: Microseconds.
        reference: ``lists.parquet`` of the reference run, None where there is none.
        settings: Of the job; ``[check]`` and ``[score]`` are read.
        out: Takes the summary.
        progress: Told the share of rows done.

    Raises:
        DataError: A file has not the columns that the score stage writes.
    """
    everything, feedback = np.ones(len(log), dtype=np.bool_), settings.feedback
    seen = seen_items(log, everything, as_of, feedback.exclude_seen)
    candidates = training_set(log, everything, as_of, feedback).candidates
    counts = _Counts(recommended=np.zeros(len(log.items), dtype=np.bool_))
    n = settings.score.n
    previous = None if reference is None else _Reference(reference, log, n)
    total = max(pq.read_metadata(lists).num_rows, 1)
    for batch in _batches(lists, log):
        _count(batch, counts, log, seen, candidates, n)
        if previous is not None:
            _compare(batch, previous, counts, n)
        progress(counts.rows / total, f"{counts.rows:,} lists checked")
    churn = counts.replaced / counts.compared if counts.compared else None
    covered = counts.recommended & candidates
    coverage = float(covered.sum() / max(int(candidates.sum()), 1))
    fallback = _popular_problem(popular, log, candidates, n)
    outcomes = _outcomes(counts, fallback, churn, coverage, int(log.eligible.sum()), settings)
    out.summary.update(
        outcomes=[asdict(outcome) for outcome in outcomes], churn=churn, coverage=coverage
    )


def _count(
    batch: _Batch,
    counts: _Counts,
    log: Interactions,
    seen: SeenItems,
    candidates: BoolArray,
    n: int,
) -> None:
    users = batch.user_idx
    known = users >= 0
    counts.rows += len(users)
    counts.eligible_rows += int(log.eligible[users[known]].sum())
    # Ascending without repeats: as many eligible rows as eligible users are then all of them.
    counts.out_of_order += int((np.diff(users, prepend=counts.last_user) <= 0).sum())
    counts.last_user = int(users[-1]) if len(users) else counts.last_user
    counts.short += int(((batch.length < n) & ~batch.explained).sum())
    counts.ragged += int(batch.ragged.sum())

    named = batch.item_idx >= 0
    allowed = named & candidates[batch.item_idx]
    counts.not_candidates += int((~allowed).sum())
    key = batch.row[named] * len(log.items) + batch.item_idx[named]
    counts.duplicates += len(key) - len(np.unique(key))
    counts.seen += int(np.isin(key, _seen_keys(users, seen, len(log.items))).sum())
    counts.recommended[batch.item_idx[named & (batch.rank < n)]] = True


def _seen_keys(users: Int32Array, seen: SeenItems, n_items: int) -> Int64Array:
    """Return a key (row of the batch, item) for all that the batch's users have seen."""
    known = np.maximum(users, 0)
    length = np.where(users >= 0, seen.indptr[known + 1] - seen.indptr[known], 0)
    row, offset = _ragged(length)
    keys: Int64Array = row * n_items + seen.indices[np.repeat(seen.indptr[known], length) + offset]
    return keys


class _Reference:
    """The top n of another run's lists, read along with tonight's: both ascend by user."""

    def __init__(self, path: Path, log: Interactions, n: int) -> None:
        self._batches = _batches(path, log)
        self._n = n
        self._users = np.zeros(0, dtype=np.int32)
        self._row_user = np.zeros(0, dtype=np.int32)
        self._items = np.zeros(0, dtype=np.int32)
        self._ended = False

    def up_to(self, user: int) -> tuple[Int32Array, Int32Array, Int32Array]:
        """Return the users up to ``user`` with a list, and the user and item of each entry."""
        while not self._ended and (not len(self._users) or self._users[-1] < user):
            batch = next(self._batches, None)
            if batch is None:
                self._ended = True
                break
            # A user of the past who is unknown tonight has no list to compare with.
            owner = batch.user_idx[batch.row]
            top = (batch.rank < self._n) & (owner >= 0)
            listed = batch.user_idx[(batch.user_idx >= 0) & (batch.length > 0)]
            self._users = np.append(self._users, listed)
            self._row_user = np.append(self._row_user, owner[top])
            self._items = np.append(self._items, batch.item_idx[top])
        taken, entries = self._users <= user, self._row_user <= user
        result = self._users[taken], self._row_user[entries], self._items[entries]
        self._users = self._users[~taken]
        self._row_user, self._items = self._row_user[~entries], self._items[~entries]
        return result


def _compare(batch: _Batch, previous: _Reference, counts: _Counts, n: int) -> None:
    if not len(batch.user_idx):
        return
    users, owner, items = previous.up_to(int(batch.user_idx.max()))
    both = np.intersect1d(users, batch.user_idx)
    if not len(both):
        return
    top = (batch.rank < n) & (batch.item_idx >= 0)
    stride = int(max(items.max(initial=0), batch.item_idx.max(initial=0))) + 1
    now = batch.user_idx[batch.row[top]].astype(np.int64) * stride + batch.item_idx[top]
    kept = (items >= 0) & np.isin(owner.astype(np.int64) * stride + items, now)
    before = np.bincount(np.searchsorted(both, owner[np.isin(owner, both)]), minlength=len(both))
    stayed = np.bincount(
        np.searchsorted(both, owner[np.isin(owner, both) & kept]), minlength=len(both)
    )
    counts.replaced += float((1 - stayed / before).sum())
    counts.compared += len(both)


def _batches(path: Path, log: Interactions) -> Iterator[_Batch]:
    file = pq.ParquetFile(path)
    missing = {USER_ID, *_PER_ITEM, REASON} - set(file.schema_arrow.names)
    if missing:
        raise DataError(
            f"{path}: expected the columns of the score stage. Received: none named "
            f"{', '.join(sorted(missing))}"
        )
    for batch in file.iter_batches(_BATCH_USERS):
        lengths = [np.asarray(_lengths(batch.column(name)), dtype=np.int64) for name in _PER_ITEM]
        row, rank = _ragged(lengths[0])
        yield _Batch(
            user_idx=log.users.encode(batch.column(USER_ID)),
            row=row,
            rank=rank,
            item_idx=log.items.encode(batch.column("item_ids").flatten()),
            length=lengths[0],
            explained=np.asarray(batch.column(REASON).is_valid()),
            ragged=np.any([length != lengths[0] for length in lengths], axis=0),
        )


def _lengths(lists: pa.Array) -> pa.Array:
    return pc.fill_null(pc.list_value_length(lists), 0)


def _ragged(length: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the row of each entry and its place within the row, for rows of given lengths."""
    row = np.repeat(np.arange(len(length), dtype=np.int64), length)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)


def _popular_problem(path: Path, log: Interactions, candidates: BoolArray, n: int) -> str:
    """Return what is wrong with the fallback for users that the run has never seen, or ""."""
    wanted = min(n, int(candidates.sum()))
    segments = pq.read_table(path, columns=["segment", "item_ids"]).to_pylist()
    if not segments:
        return "there is no popular list for users that the run has not seen"
    for segment in segments:
        items = log.items.encode(pa.array(segment["item_ids"], log.items.ids.type))
        name = f"the popular list {segment['segment']!r}"
        if len(items) < wanted:
            return f"{name} has {len(items)} items where {wanted} are needed"
        if len(np.unique(items)) < len(items):
            return f"{name} holds an item twice"
        if not (items >= 0).all() or not candidates[items].all():
            return f"{name} holds an item that is not a candidate"
    return ""


def _outcomes(
    counts: _Counts,
    fallback: str,
    churn: float | None,
    coverage: float,
    eligible: int,
    settings: Settings,
) -> list[Outcome]:
    limits = settings.check
    incomplete = {
        "eligible users have no list": eligible - counts.eligible_rows,
        "lists are of users who are not eligible": counts.rows - counts.eligible_rows,
        "rows are not in the order of user_id, or twice the same user's": counts.out_of_order,
        f"lists have fewer than {settings.score.n} items and no reason": counts.short,
        "lists have more or fewer scores, sources or reasons than items": counts.ragged,
    }
    problems = [f"{count:,} {what}" for what, count in incomplete.items() if count]
    problems += [fallback] if fallback else []
    wrong = sum(abs(count) for count in incomplete.values()) + bool(fallback)
    outcomes = [
        _zero(
            "completeness",
            limits.completeness,
            wrong,
            "; ".join(problems) or f"each of {eligible:,} eligible users has a list or a reason",
        ),
        _zero(
            "seen_items",
            limits.seen_items,
            counts.seen,
            f"{counts.seen:,} items in the lists were seen by their user "
            f"(feedback.exclude_seen = {settings.feedback.exclude_seen!r})",
        ),
        _zero(
            "duplicates",
            limits.duplicates,
            counts.duplicates,
            f"{counts.duplicates:,} items are more than once in the same list",
        ),
        _zero(
            "candidates",
            limits.candidates,
            counts.not_candidates,
            f"{counts.not_candidates:,} items in the lists are no candidates (unknown before "
            "as_of, unavailable or below feedback.min_item_interactions)",
        ),
        Outcome(
            "check",
            "coverage",
            limits.coverage,
            coverage >= limits.min_coverage,
            coverage,
            limits.min_coverage,
            f"{coverage:.2%} of the candidates are in someone's top {settings.score.n}; below "
            f"check.min_coverage = {limits.min_coverage:.2%} everyone would get the same few items",
        ),
    ]
    if churn is not None:
        outcomes.append(
            Outcome(
                "check",
                "churn",
                limits.churn,
                churn <= limits.max_churn,
                churn,
                limits.max_churn,
                f"{churn:.1%} of a list was replaced since the reference run, mean of "
                f"{counts.compared:,} users; check.max_churn is {limits.max_churn:.1%}",
            )
        )
    return [outcome for outcome in outcomes if outcome.level != "off"]


def _zero(name: str, level: Level, observed: int, message: str) -> Outcome:
    return Outcome("check", name, level, observed == 0, float(observed), 0.0, message)
