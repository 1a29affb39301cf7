"""`make bench`: our figures beside others', measured in one run on this machine.

    make bench                          everything that this machine has the data for
    make bench ARGS='--only ratings'    one part

ratings   the plain Keras script (embeddings, dense 128 and 64, batch 64, 10 epochs) and biases
          alone against `ncf` and `mf`: RMSE on a random fifth, seconds of `fit` (tracing included)
friends   friend links of Last.fm: who finds those withheld (docs/friends.md)
topn      the exact top-n kernel against a bare float32 matrix product

Ratios count, not seconds: machines differ, and so do the hours of a shared one.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import data

console = Console(highlight=False)
SEEDS = (1, 2, 3)


def ratings() -> None:
    """The seed article's script against ours, on its split of MovieLens latest-small."""
    if not data.available("ml-latest-small"):
        console.print("ratings: skipped, there is no ml-latest-small here")
        return
    from benchmarks import rating_models as models

    train, test = models.article_split(
        data.interactions("ml-latest-small"), data.table("ml-latest-small")
    )
    table = Table(title="ratings: MovieLens latest-small, random 80/20 (random_state=42)")
    for column in ("model", "RMSE", "fit seconds", "of the script's time"):
        table.add_column(column, justify="left" if column == "model" else "right")
    # In turns: a machine that is slow for a while is so for all of them.
    turns = [
        (
            models.article_script(train, test),
            *(models.ours(name, train, test, seed) for name in ("ncf", "mf")),
        )
        for seed in SEEDS
    ]
    script, *own = zip(*turns, strict=True)
    rmse, base = script[0][0], float(np.median([seconds for _, seconds in script]))
    table.add_row("the plain script", f"{rmse:.4f}", f"{base:.1f}", "1")
    rmse, seconds = models.biases(train, test)
    table.add_row("biases alone", f"{rmse:.4f}", f"{seconds:.1f}", f"{seconds / base:.2f}")
    for name, runs in zip(("ncf", "mf"), own, strict=True):
        rmses, times = zip(*runs, strict=True)
        table.add_row(
            f"{name} (mean of {len(runs)} seeds)",
            f"{np.mean(rmses):.4f} ± {np.std(rmses):.4f}",
            f"{np.median(times):.1f}",
            f"{np.median(times) / base:.2f}",
        )
    console.print(table)


def topn() -> None:
    """The exact top-50 of everyone against the product it needs at least."""
    from benchmarks import top_n_rate

    console.print(top_n_rate.compare())


def friends() -> None:
    """A job whose items are people."""
    from benchmarks import friends as part

    if not data.available(part.FOLDER):
        console.print(f"friends: skipped, there is no {part.FOLDER} here")
        return
    console.print(part.compare())


PARTS: dict[str, Callable[[], None]] = {"topn": topn, "ratings": ratings, "friends": friends}


def main() -> int:
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    args = parser.parse_args()
    console.print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )
    for name, part in PARTS.items():
        if args.only in (None, name):
            part()
    return 0


if __name__ == "__main__":
    sys.exit(main())
