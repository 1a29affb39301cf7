"""What the scored lists look like: how often each item is shown, from which source, for whom.

The lists are read block by block, so memory does not grow with the number of users; only a few
users' lists are looked at one by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import ITEM_ID, POPULAR, REASON, TITLE, USER_ID
from recjobs.dataset import Int64Array, Interactions
from recjobs.files import row_batches
from recjobs.metrics import gini
from recjobs.report.numbers import fixed, number
from recjobs.threads import ahead

_BLOCK_ROWS: Final = 8192
_HISTORY: Final = 8
#: Where on the scale from the shortest to the longest history the sample users stand.
_QUANTILES: Final = (0.95, 0.5, 0.05)


@dataclass(frozen=True, slots=True)
class Scored:
    """The lists of everyone, counted; the rows of a few.

    Attributes:
        users: Users with a row.
        shown: How often each item is on a list, within the first n, int64, ``(n_items,)``.
        gini: How unevenly the entries are spread over the available items.
        users_by_source: Users by the source of their first item; ``"none"`` for an empty list.
        entries_by_source: Entries within the first n, by source.
        short: Users with fewer than n items, by the reason given.
        samples: Rows of ``lists.parquet`` as they are, cut to n entries.
    """

    users: int
    shown: Int64Array
    gini: float
    users_by_source: dict[str, int]
    entries_by_source: dict[str, int]
    short: dict[str, int]
    samples: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An item on a sample list; ``because`` names the history item and features behind it."""

    item_id: str
    title: str
    score: str
    source: str
    because: str


@dataclass(frozen=True, slots=True)
class Past:
    """An interaction of a sample user; ``note`` is its rating or its event."""

    day: str
    item_id: str
    title: str
    note: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One user's list beside the newest of their history.

    Attributes:
        user_id: The source's own id.
        interactions: How long the history is in all.
        reason: Why the list is short; empty where it is not.
        entries: The list.
        history: Newest first.
    """

    user_id: str
    interactions: int
    reason: str
    entries: list[Entry]
    history: list[Past]


def read_lists(paths: Sequence[Path], log: Interactions, n: int) -> Scored:
    """Count what is on the lists, and keep the rows of a few users.

    Args:
        paths: ``lists.parquet`` of each part.
        log: The run's log, for the item index and for who is typical.
        n: The length of a list; the spares behind it are not counted.
    """
    users, shown = 0, np.zeros(len(log.items), dtype=np.int64)
    first: Counter[str] = Counter()
    entries: Counter[str] = Counter()
    short: Counter[str] = Counter()
    samples = log.users.decode(_typical_users(log))
    fallback = samples[:0]
    for block in ahead(_blocks(paths)):
        users += len(block)
        items = log.items.encode(_entries(block["item_ids"], n))
        shown += np.bincount(items[items >= 0], minlength=len(shown))
        _count(entries, _entries(block["sources"], n))
        _count(short, block[REASON].drop_null())
        rows, sources = _firsts(block["sources"])
        _count(first, sources)
        if not len(fallback) and first[POPULAR]:
            popular = rows[pc.equal(sources, POPULAR).to_numpy(zero_copy_only=False)]
            fallback = block[USER_ID].take(popular[:1])
    if users > first.total():
        first["none"] = users - first.total()
    return Scored(
        users=users,
        shown=shown,
        gini=gini(shown[log.available]),
        users_by_source=dict(first.most_common()),
        entries_by_source=dict(entries.most_common()),
        short=dict(short.most_common()),
        samples=[_cut(row, n) for row in _rows_of(pa.concat_arrays([samples, fallback]), paths)],
    )


def _blocks(paths: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(path) as file:
            yield from row_batches(file, _BLOCK_ROWS, [USER_ID, "item_ids", "sources", REASON])


def _entries(lists: pa.ListArray, n: int) -> pa.Array:
    """Return the first n entries of each list, one after another."""
    longest = pc.max(pc.list_value_length(lists)).as_py() or 0
    return (pc.list_slice(lists, 0, n) if longest > n else lists).flatten()


def _firsts(lists: pa.ListArray) -> tuple[Int64Array, pa.Array]:
    """Return which lists have an entry, and the first one of each of these."""
    length = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)
    rows: Int64Array = np.flatnonzero(length)
    return rows, lists.flatten().take(pa.array((np.cumsum(length) - length)[rows]))


def _rows_of(users: pa.Array, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the whole rows of a few users; only where they can be is anything read."""
    for path in paths:
        yield from pq.read_table(path, filters=pc.field(USER_ID).isin(users)).to_pylist()


def sample_lists(scored: Scored, log: Interactions, item_rows: Path, zone: tzinfo) -> list[Sample]:
    """Return the sample users with titles, longest history first.

    Args:
        scored: What `read_lists` found.
        log: The run's log.
        item_rows: The snapshot's ``items.parquet``.
        zone: The time zone to give days in.
    """
    user_idx = log.users.encode(pa.array([s[USER_ID] for s in scored.samples], log.users.ids.type))
    pasts = [np.arange(*np.searchsorted(log.user_idx, [u, u + 1])) for u in user_idx]
    newest = [rows[::-1][:_HISTORY] for rows in pasts]
    on_lists = [i for s in scored.samples for i in (*s["item_ids"], *s["because_item_ids"])]
    in_pasts = [log.items.decode(log.item_idx[rows]).to_pylist() for rows in newest]
    titles = read_titles(item_rows, [*on_lists, *(i for ids in in_pasts for i in ids)])

    def named(item_id: Any) -> str:
        return titles.get(item_id) or f"item {item_id}"

    samples = []
    for row, rows, recent, ids in zip(scored.samples, pasts, newest, in_pasts, strict=True):
        entries = [
            Entry(
                str(i),
                named(i),
                fixed(score),
                source,
                ": ".join(filter(None, ("" if b is None else named(b), features))),
            )
            for i, score, source, b, features in zip(
                row["item_ids"],
                row["scores"],
                row["sources"],
                row["because_item_ids"],
                row.get("because_features") or [None] * len(row["item_ids"]),
                strict=True,
            )
        ]
        history = [
            Past(_day(int(log.ts[r]), zone), str(i), named(i), _note(log, int(r)))
            for r, i in zip(recent, ids, strict=True)
        ]
        reason = row["reason"] or ""
        samples.append(Sample(str(row[USER_ID]), len(rows), reason, entries, history))
    return sorted(samples, key=lambda sample: -sample.interactions)


def popularity_curves(
    consumed: Int64Array, shown: Int64Array
) -> tuple[list[float], dict[str, list[float]]]:
    """Cumulate what is consumed and what is recommended over items, most consumed first.

    Args:
        consumed: Interactions per item, ``(n_items,)``.
        shown: List entries per item, ``(n_items,)``.

    Returns:
        Shares of the catalogue, at most 200 of them, and the share taken up to each.
    """
    order = np.argsort(-consumed, kind="stable")
    n_items = len(order)
    at = np.unique(np.geomspace(1, n_items, 200).astype(np.int64)) - 1
    curves = {}
    for name, counts in (("consumed", consumed), ("recommended", shown)):
        share = np.cumsum(counts[order]) / max(int(counts.sum()), 1)
        curves[name] = [float(s) for s in share[at]]
    return [float(s) for s in (at + 1) / n_items], curves


def _typical_users(log: Interactions) -> Int64Array:
    """Return a few eligible users, by length of history; ties go to the smaller index."""
    history = np.diff(log.indptr)
    users = np.flatnonzero(log.eligible & (history > 0))
    users = users[np.argsort(history[users], kind="stable")]
    if not len(users):
        return users
    return np.unique([users[round(q * (len(users) - 1))] for q in _QUANTILES])


def read_titles(path: Path, item_ids: Iterable[Any]) -> dict[Any, str | None]:
    """Return the titles of some items, None where one has none, from a snapshot's items."""
    wanted = list({i for i in item_ids if i is not None})
    if not wanted:
        return {}
    rows = pq.read_table(path, columns=[ITEM_ID, TITLE], filters=pc.field(ITEM_ID).isin(wanted))
    return dict(zip(rows[ITEM_ID].to_pylist(), rows[TITLE].to_pylist(), strict=True))


def _count(counter: Counter[str], values: pa.Array) -> None:
    for row in pc.value_counts(values).to_pylist():
        counter[str(row["values"])] += row["counts"]


def _cut(row: dict[str, Any], n: int) -> dict[str, Any]:
    return {key: value[:n] if isinstance(value, list) else value for key, value in row.items()}


def _day(microseconds: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC).astimezone(zone):%Y-%m-%d}"


def _note(log: Interactions, row: int) -> str:
    parts: Sequence[str] = (
        number(float(log.rating[row])) if not np.isnan(log.rating[row]) else "",
        log.event_names[log.event[row]] if log.event[row] >= 0 else "",
    )
    return ", ".join(part for part in parts if part)
