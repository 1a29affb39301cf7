"""The exact top-50 for factors, seen items excluded, against the bare matrix product it needs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.table import Table

from recjobs.dataset import SeenItems
from recjobs.topn import FactorRanker

USERS, ITEMS, DIM, N = 8192, 27_000, 64, 50
HISTORY, ROUNDS = 140, 5


def compare() -> Table:
    """Return rates in units of the bare product's, the median of rounds run by turns."""
    rng = np.random.default_rng(0)
    users = rng.standard_normal((USERS, DIM), dtype=np.float32)
    items = rng.standard_normal((ITEMS, DIM), dtype=np.float32)
    rows = [np.unique(rng.integers(ITEMS, size=HISTORY)) for _ in range(USERS)]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    seen = SeenItems(indptr, np.concatenate(rows).astype(np.int32))
    ranker = FactorRanker(items, np.ones(ITEMS, dtype=np.bool_))
    everyone = np.arange(USERS, dtype=np.int32)
    out = np.empty((4096, ITEMS), dtype=np.float32)

    def product(block: int) -> Callable[[], None]:
        def run() -> None:
            for start in range(0, USERS, block):
                np.matmul(users[start : start + block], items.T, out=out[:block])

        return run

    def argpartition() -> None:
        for start in range(0, USERS, 1024):
            scores = np.matmul(users[start : start + 1024], items.T, out=out[:1024])
            best = np.argpartition(scores, ITEMS - N, axis=1)[:, -N:]
            np.take_along_axis(scores, best, axis=1)

    contenders: dict[str, Callable[[], object]] = {
        **{f"bare product, blocks of {block}": product(block) for block in (256, 1024, 4096)},
        "numpy argpartition, nothing excluded": argpartition,
        "recjobs, seen items excluded": lambda: ranker.top_n(users, everyone, seen, N),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            run()
            if turn:  # the first turn warms up, and compiles
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    best = min(value for name, value in medians.items() if name.startswith("bare"))
    table = Table(title=f"top-{N}: {USERS:,} users x {ITEMS:,} items x {DIM} dims, float32")
    table.add_column("means")
    table.add_column("rate against the best bare product", justify="right")
    for name, value in medians.items():
        table.add_row(name, f"{best / value:.2f}")
    return table
