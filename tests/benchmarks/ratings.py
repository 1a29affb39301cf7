"""The seed article's script against ours, on its split of MovieLens latest-small."""

from __future__ import annotations

import numpy as np
from rich.table import Table

from benchmarks import data
from benchmarks import rating_models as models

FOLDER = "ml-latest-small"
SEEDS = (1, 2, 3)


def compare() -> Table:
    """Return RMSE on a random fifth and seconds of `fit` (tracing included), side by side."""
    train, test = models.article_split(data.interactions(FOLDER), data.table(FOLDER))
    found = Table(title="ratings: MovieLens latest-small, random 80/20 (random_state=42)")
    for column in ("model", "RMSE", "fit seconds", "of the script's time"):
        found.add_column(column, justify="left" if column == "model" else "right")
    # In turns: a machine that is slow for a while is so for all of them.
    turns = [
        (
            models.article_epochs(train, test)[-1],
            *(models.ours(name, train, test, seed) for name in ("ncf", "mf")),
        )
        for seed in SEEDS
    ]
    script, *own = zip(*turns, strict=True)
    base, rmse = float(np.median([seconds for seconds, _ in script])), script[0][1]
    found.add_row("the plain script", f"{rmse:.4f}", f"{base:.1f}", "1")
    rmse, seconds = models.biases(train, test)
    found.add_row("biases alone", f"{rmse:.4f}", f"{seconds:.1f}", f"{seconds / base:.2f}")
    for name, runs in zip(("ncf", "mf"), own, strict=True):
        rmses, times = zip(*runs, strict=True)
        found.add_row(
            f"{name} (mean of {len(runs)} seeds)",
            f"{np.mean(rmses):.4f} ± {np.std(rmses):.4f}",
            f"{np.median(times):.1f}",
            f"{np.median(times) / base:.2f}",
        )
    return found
