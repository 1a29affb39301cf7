"""How time and memory grow: three sizes of each side, and the slope in double-logarithmic scale."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.performance import publish, shapes, source
from benchmarks.performance.harness import Row, interleave, peak_bytes
from benchmarks.performance.shapes import AS_OF, Shape
from recjobs import kernels  # noqa: F401  (compiled code is no part of what is weighed)
from recjobs.columns import EVENT, ITEM_ID, RATING, TS, USER_ID
from recjobs.config import FeedbackSettings
from recjobs.dataset import Interactions, SeenItems, training_set
from recjobs.source.log import Log
from recjobs.topn import FactorRanker

DIMS, N, BLOCK, HISTORY = 64, 50, 4096, 60


@dataclass(frozen=True, slots=True)
class Curve:
    """Seconds at three sizes.

    Attributes:
        name: What grows, and in what.
        sizes: Of the side that grows.
        seconds: Medians.
    """

    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def slope(self) -> float:
        """The exponent: 1 is a straight line."""
        return float(np.polyfit(np.log(self.sizes), np.log(self.seconds), 1)[0])


def curves(repeats: int) -> Iterator[Curve]:
    """Measure each."""
    yield _curve("index, in interactions", (500_000, 1_000_000, 2_000_000), _indexing, repeats)
    yield _curve(
        "scoring, in users", (5_000, 10_000, 20_000), lambda n: _scoring(n, 10_000), repeats
    )
    yield _curve(
        "scoring, in items", (5_000, 10_000, 20_000), lambda n: _scoring(10_000, n), repeats
    )
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as name:
        publish.Job(dsn, Path(name)).migrated()
        load = functools.partial(_publishing, dsn, Path(name))
        yield _curve("publishing, in users", (20_000, 40_000, 80_000), load, repeats)


def rows(measured: list[Curve]) -> list[Row]:
    """Return the slopes, and how memory grows when users grow tenfold."""
    found = [
        Row("growth", curve.name, "a straight line", curve.slope, curve.slope, curve.slope,
            None, "slope; " + ", ".join(f"{n:,}: {s:.3g} s" for n, s in
                                        zip(curve.sizes, curve.seconds, strict=True)))
        for curve in measured
    ]  # fmt: skip
    few, many = (peak_bytes(_score_all, users)[0] for users in (20_000, 200_000))
    inputs = 180_000 * (DIMS * 4 + HISTORY * 4 + 8)
    found.append(_flat("scoring", few, many, many - inputs, "beyond the vectors and histories"))
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as name:
        publish.Job(dsn, Path(name)).migrated()
        peaks = []
        for users in (20_000, 200_000):
            lists = publish.lists_file(Path(name) / f"{users}.parquet", users, 10_000)
            peaks.append(peak_bytes(publish.load, dsn, lists)[0])
        found.append(_flat("publishing", *peaks, peaks[1], "the load"))
    return found


def _flat(what: str, few: int, many: int, counted: int, note: str) -> Row:
    ratio = counted / few
    told = f"MiB: {few >> 20:,} for 20,000 users, {many >> 20:,} for 200,000; {note}"
    return Row("growth", f"memory of {what}, ten times the users", "the users before", ratio, ratio,
               ratio, ("≤", 1.2), told)  # fmt: skip


def _curve(
    name: str, sizes: tuple[int, ...], prepare: Callable[[int], Callable[[], object]], repeats: int
) -> Curve:
    timings = interleave({str(size): prepare(size) for size in sizes}, min(repeats, 3))
    return Curve(name, sizes, tuple(timings.median(str(size)) for size in sizes))


def _indexing(rows: int) -> Callable[[], object]:
    log = shapes.interactions(Shape(f"I{rows}", rows, 6_000, 10_000))
    table = pa.table(
        {
            USER_ID: log.users.decode(log.user_idx),
            ITEM_ID: log.items.decode(log.item_idx),
            TS: pa.array(log.ts).cast(pa.timestamp("us", "UTC")),
            RATING: log.rating,
            EVENT: pa.nulls(len(log), pa.string()).dictionary_encode(),
        }
    )
    return lambda: (Log.of(table), _aggregate(log))


def _aggregate(log: Interactions) -> object:
    return training_set(log, np.ones(len(log), dtype=np.bool_), AS_OF, FeedbackSettings())


def _scoring(users: int, items: int) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((users, DIMS), dtype=np.float32)
    ranker = FactorRanker(
        rng.standard_normal((items, DIMS), dtype=np.float32), np.ones(items, dtype=np.bool_)
    )
    seen = _histories(users, items, rng)

    def run() -> None:
        for start in range(0, users, BLOCK):
            block = np.arange(start, min(start + BLOCK, users), dtype=np.int32)
            ranker.top_n(vectors, block, seen, N)

    return run


def _score_all(users: int) -> float:
    started = time.perf_counter()
    _scoring(users, 10_000)()
    return time.perf_counter() - started


def _histories(users: int, items: int, rng: np.random.Generator) -> SeenItems:
    # One step of items for each history: ascending and distinct without a sort.
    steps = rng.integers(1, items // HISTORY, (users, HISTORY), dtype=np.int32)
    indptr = np.arange(users + 1, dtype=np.int64) * HISTORY
    return SeenItems(indptr, np.cumsum(steps, axis=1, dtype=np.int32, out=steps).ravel())


def _publishing(dsn: str, folder: Path, users: int) -> Callable[[], object]:
    lists = publish.lists_file(folder / f"{users}.parquet", users, 10_000)

    def run() -> None:
        publish.load(dsn, lists)
        publish.forget(dsn)

    return run
