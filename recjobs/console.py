"""What a person sees: a bar per stage while a night runs, tables at its end.

Progress goes to standard error, results to standard output; where standard error is no terminal
(a log), each stage is one line when it ends.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from recjobs.artifacts import RunFolder
from recjobs.pipeline import STAGES
from recjobs.progress import Progress
from recjobs.runs import Run

_METRICS = ("ndcg@10", "recall@20", "hit_rate@10", "mrr", "rmse", "coverage")

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, stderr=True, soft_wrap=True)


@contextmanager
def stage_bar(stage: str) -> Iterator[Progress]:
    """Draw one stage's progress, then leave a line with its time and its last word."""
    started = time.monotonic()
    last = ""
    bars = Bars(
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%  {task.fields[note]}"),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    task = bars.add_task(stage, total=1.0, note="")

    def progress(done: float, note: str = "") -> None:
        nonlocal last
        last = note or last
        bars.update(task, completed=done, note=last)

    mark = "[red]✗[/red]"
    try:
        with bars:
            yield progress
        mark = "[green]✓[/green]"
    finally:
        seconds = time.monotonic() - started
        err.print(f"{mark} {stage:<9} {seconds:7.1f} s  ", end="")
        err.print(last, markup=False, style="dim")


def metrics_table(folder: RunFolder) -> Table:
    """Return the evaluation of a run: a model per row, a metric with its interval per column."""
    rows = pq.read_table(folder.path("evaluate", "metrics.parquet")).to_pylist()
    rows = [row for row in rows if row["segment"] == "all" and row["metric"] in _METRICS]
    shown = [m for m in _METRICS if any(row["metric"] == m for row in rows)]
    users = f"{max((row['users'] for row in rows), default=0):,}"
    if drawn_from := folder.manifest("evaluate").summary["drawn_from"]:
        users += f" of {drawn_from:,}"
    table = Table(title=f"On the holdout, {users} users, all items ranked", title_justify="left")
    table.add_column("model")
    for metric in shown:
        table.add_column(metric, justify="right")
    for model in dict.fromkeys(row["model"] for row in rows):
        by_metric = {row["metric"]: row for row in rows if row["model"] == model}
        table.add_row(model, *(_interval(by_metric.get(metric)) for metric in shown))
    return table


def runs_table(runs: Sequence[Run], live: Run | None, abandoned: Container[int]) -> Table:
    """Return runs as a table, newest first; the live one is marked, and those left unfinished."""
    table = Table(expand=True)
    for name in ("run", "as of", "status", "model", "decision"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", no_wrap=True, overflow="ellipsis", ratio=1)
    for run in runs:
        mark = " [green]● live[/green]" if live and run.run_id == live.run_id else ""
        status = f"{'stopped' if run.run_id in abandoned else run.status}{mark}"
        if run.status in ("failed", "running") and run.stage:
            status += f" in {run.stage}"
        # What kept a run from going live says nothing of one that has been live since.
        why = run.error or (None if run.ever_live else run.why_not_live) or run.rule or ""
        table.add_row(
            str(run.run_id),
            f"{run.key.as_of:%Y-%m-%d %H:%M}",
            status,
            run.model,
            run.decision or "",
            why.replace("[", r"\["),
        )
    return table


def timings_line(run: Run) -> str:
    """Return the stages' seconds in one line."""
    seconds = dict.fromkeys(STAGES, 0.0)
    for name, taken in run.timings.items():
        seconds[name.partition(" ")[0]] += taken  # a shard's, "score 2/4", is its stage's
    parts = [f"{stage} {taken:.1f}" for stage, taken in seconds.items() if stage in run.timings]
    return f"{sum(seconds.values()):.1f} s: " + ", ".join(parts)


def report_path(run: Run) -> Path | str:
    """Return where a run's report lies: a path, or the URL of an object store."""
    url = f"{run.artifacts}/run-{run.run_id}/report/report.html"
    return url if "://" in url else Path(url)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, times as ISO 8601."""
    import json

    print(json.dumps(value, indent=1, default=_plain, allow_nan=False))


def _interval(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["low"] is None or row["low"] != row["low"]:
        return f"{row['value']:.4f}"
    return f"{row['value']:.4f}\n[dim]{row['low']:.3f}-{row['high']:.3f}[/dim]"
