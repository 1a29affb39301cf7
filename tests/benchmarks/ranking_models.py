"""Each personalized model against popularity, by the train and evaluate stages of a night."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from rich.table import Table

from benchmarks import data
from recjobs.artifacts import StageOutput, read_json
from recjobs.columns import MICROSECONDS_PER_DAY, POPULAR
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.evaluate import evaluate
from recjobs.progress import silent
from recjobs.split import split
from recjobs.train import train

MODELS = ("item_knn", "ease", "mf", "ncf")


def compare(name: str, days: int) -> Table:
    """Return NDCG@10 on the last days of a data set, a row per model."""
    log = data.interactions(name)
    # A night at the end of the data: the instant after its last interaction.
    as_of = int(log.ts[-1]) + 1
    table = Table(title=f"ranking: {name}, the last {days} days held out, all items ranked")
    for column in ("model", "NDCG@10", "minus popularity's", "95% interval", "fit seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model in MODELS:
        table.add_row(*_row(log, as_of, model, days))
    return table


def _row(log: Interactions, as_of: int, model: str, days: int) -> tuple[str, ...]:
    settings = Settings.model_validate(
        {
            "job": {"name": "bench", "training_threads": 2},
            "source": {"table": "none"},
            "feedback": {"positive_at": 4.0 if log.rating.max() <= 5 else 7.0},
            "holdout": {"days": days},
            "model": {"name": model},
            "evaluate": {"baselines": [POPULAR]},
        }
    )
    parts = split(log, settings.holdout, as_of)
    assert parts.cutoff == as_of - days * MICROSECONDS_PER_DAY
    with tempfile.TemporaryDirectory() as folder:
        fitted, judged = (StageOutput(Path(folder) / stage) for stage in ("train", "evaluate"))
        fitted.folder.mkdir()
        judged.folder.mkdir()
        trained = train(log, parts, settings, fitted, silent)
        evaluate(trained, log, parts, settings, None, judged, silent)
        rows = pq.read_table(judged.folder / "metrics.parquet").to_pylist()
        differences = read_json(judged.folder / "differences.json")["differences"]
    value = next(
        row["value"]
        for row in rows
        if (row["model"], row["segment"], row["metric"]) == (model, "known", "ndcg@10")
    )
    against = next(
        row
        for row in differences
        if (row["against"], row["segment"], row["metric"]) == (POPULAR, "known", "ndcg@10")
    )
    seconds = fitted.summary["fit_seconds"]
    return (
        model,
        f"{value:.4f}",
        f"{against['mean']:+.4f}",
        f"{against['low']:+.4f} to {against['high']:+.4f}",
        f"{seconds:.1f}",
    )
