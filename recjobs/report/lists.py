"""What the scored lists look like: how often each item is shown, from which source, for whom.

The lists are read block by block, so memory does not grow with the number of users; only a few
users' rows are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import POPULAR, REASON, USER_ID
from recjobs.dataset import Int64Array, Interactions
from recjobs.files import row_batches
from recjobs.metrics import gini
from recjobs.threads import ahead

_BLOCK_ROWS: Final = 8192
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


def _count(counter: Counter[str], values: pa.Array) -> None:
    for row in pc.value_counts(values).to_pylist():
        counter[str(row["values"])] += row["counts"]


def _cut(row: dict[str, Any], n: int) -> dict[str, Any]:
    return {key: value[:n] if isinstance(value, list) else value for key, value in row.items()}
