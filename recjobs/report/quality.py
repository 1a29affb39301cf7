"""How good the model is: the evaluation's rows as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from recjobs.columns import POPULAR
from recjobs.files import read_json
from recjobs.gate import DECIDING_SEGMENT
from recjobs.report.numbers import Estimate, fixed
from recjobs.report.plots import Plot, by_model

#: In this order; the gate's metric goes first.
_METRICS: Final = {
    "ndcg@10": "NDCG at 10: relevant items among the first ten, the higher up the better; 0 to 1.",
    "recall@20": "The share of a user's held-out items that are among the first twenty.",
    "hit_rate@10": "The share of users with at least one held-out item among the first ten.",
    "mrr": "1 / rank of the first held-out item, mean of users.",
    "rmse": "Root mean squared error of predicted ratings; lower is better.",
    "mae": "Mean absolute error of predicted ratings; lower is better.",
    "coverage": "The share of candidate items among the first ten of at least one judged user.",
    "gini": "How unevenly recommendations are spread over items: 0 evenly, 1 all on one item.",
    "mean_popularity": "The share of training users who have an item, mean of those recommended.",
}
_SEGMENTS: Final = ("all", DECIDING_SEGMENT, "new", "light", "heavy")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text, and a smaller line below it."""

    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table; one that is ``ours`` is marked."""

    name: str
    cells: list[Cell]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of numbers: what its first column names, its other columns, its rows."""

    corner: str
    columns: list[Cell]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Quality:
    """The section on quality.

    Attributes:
        plot: The gate's metric by model, of the users that the gate decides on.
        differences: What the gate read: the model against each other, of the same users.
        models: A model per row, a metric per column, of all users.
        segments: A model per row, a segment per column, of the gate's metric.
        glossary: What each metric that occurs means.
        ours: The gate's metric of the run's model, of the users that the gate decides on.
        floor: The same of popularity.
        no_champion: Why no champion was judged; empty where one was.
        drawn_from: How many users the judged ones were drawn from; empty where all were judged.
        light: Popularity's figure and the model's, of light users, where popularity is surely the
            better for them; else empty.
    """

    plot: Plot
    differences: Table
    models: Table
    segments: Table
    glossary: dict[str, str]
    ours: float | None
    floor: float | None
    no_champion: str
    drawn_from: str
    light: tuple[str, ...]


def read_quality(rows_path: Path, differences_path: Path, metric: str) -> Quality:
    """Read the evaluation.

    Args:
        rows_path: ``metrics.parquet``.
        differences_path: ``differences.json``.
        metric: The gate's metric.
    """
    rows = pq.read_table(rows_path).to_pylist()
    judged = read_json(differences_path)
    ours = judged["challenger"]
    found = {(row["model"], row["segment"], row["metric"]): row for row in rows}
    models = list(dict.fromkeys([ours, *(row["model"] for row in rows)]))
    metrics = _ordered({row["metric"] for row in rows}, [metric, *_METRICS])
    segments = _ordered({row["segment"] for row in rows}, _SEGMENTS)

    def table(columns: list[Cell], keys: Sequence[tuple[str, str]]) -> Table:
        body = [
            Row(model, [_cell(found.get((model, *key))) for key in keys], model == ours)
            for model in models
        ]
        return Table("model", columns, body)

    decisive = {
        model: estimate(row)
        for model in models
        if (row := found.get((model, DECIDING_SEGMENT, metric))) and row["value"] is not None
    }
    return Quality(
        plot=by_model(metric, decisive, ours),
        differences=_differences(judged, metric),
        models=table([Cell(m) for m in metrics], [("all", m) for m in metrics]),
        segments=table(
            [Cell(s, _users(found.get((ours, s, metric)))) for s in segments],
            [(s, metric) for s in segments],
        ),
        glossary={m: _METRICS[m] for m in metrics if m in _METRICS},
        ours=decisive[ours].value if ours in decisive else None,
        floor=decisive[POPULAR].value if POPULAR in decisive else None,
        no_champion=judged["no_champion"] or "",
        drawn_from=f"{judged['drawn_from']:,}" if judged["drawn_from"] else "",
        light=_better(*(found.get((model, "light", metric)) for model in (POPULAR, ours))),
    )


def _better(row: dict[str, Any] | None, other: dict[str, Any] | None) -> tuple[str, ...]:
    """Return both figures where the first one's interval is above the other's; else nothing."""
    if row is None or other is None:
        return ()
    if None in (row["low"], other["high"]) or row["low"] <= other["high"]:
        return ()
    return tuple(f"{cell.text} ({cell.note})" for cell in (_cell(row), _cell(other)))


def _differences(judged: dict[str, Any], metric: str) -> Table:
    columns = [Cell(metric, judged["challenger"]), Cell(metric, "the other"), Cell("difference")]
    rows = [
        Row(
            row["against"],
            [
                Cell(fixed(row["challenger"])),
                Cell(fixed(row["other"])),
                Cell(f"{row['mean']:+.4f}", f"{row['low']:+.4f} to {row['high']:+.4f}"),
            ],
        )
        for row in judged["differences"]
        if row["segment"] == DECIDING_SEGMENT and row["metric"] == metric
    ]
    return Table("against", columns, rows)


def estimate(row: dict[str, Any]) -> Estimate:
    """Return a row's value with its interval, where it has one."""
    low, high = row["low"], row["high"]
    bounded = low is not None and high is not None and not (math.isnan(low) or math.isnan(high))
    return Estimate(row["value"], low, high) if bounded else Estimate(row["value"])


def _cell(row: dict[str, Any] | None) -> Cell:
    if row is None or row["value"] is None or math.isnan(row["value"]):
        return Cell("–")
    known = estimate(row)
    if known.low is None or known.high is None:
        return Cell(fixed(known.value))
    return Cell(fixed(known.value), f"{fixed(known.low)} to {fixed(known.high)}")


def _users(row: dict[str, Any] | None) -> str:
    return f"{row['users']:,} users" if row else ""


def _ordered(present: set[str], order: Sequence[str]) -> list[str]:
    known = [name for name in dict.fromkeys(order) if name in present]
    return [*known, *sorted(present - set(known))]
