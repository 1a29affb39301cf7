"""A few users' lists, one by one: with titles, beside the newest of the history behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import ITEM_ID, TITLE, USER_ID
from recjobs.dataset import Interactions
from recjobs.report.lists import Scored
from recjobs.report.numbers import fixed, number

_HISTORY: Final = 8


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


def sample_lists(scored: Scored, log: Interactions, item_rows: Path, zone: tzinfo) -> list[Sample]:
    """Return the sample users with titles, longest history first.

    Args:
        scored: What `recjobs.report.lists.read_lists` found.
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


def read_titles(path: Path, item_ids: Iterable[Any]) -> dict[Any, str | None]:
    """Return the titles of some items, None where one has none, from a snapshot's items."""
    wanted = list({i for i in item_ids if i is not None})
    if not wanted:
        return {}
    rows = pq.read_table(path, columns=[ITEM_ID, TITLE], filters=pc.field(ITEM_ID).isin(wanted))
    return dict(zip(rows[ITEM_ID].to_pylist(), rows[TITLE].to_pylist(), strict=True))


def _day(microseconds: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(microseconds / 1e6, UTC).astimezone(zone):%Y-%m-%d}"


def _note(log: Interactions, row: int) -> str:
    parts: Sequence[str] = (
        number(float(log.rating[row])) if not np.isnan(log.rating[row]) else "",
        log.event_names[log.event[row]] if log.event[row] >= 0 else "",
    )
    return ", ".join(part for part in parts if part)
