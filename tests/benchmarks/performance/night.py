"""A whole night, beside the script that a user would write for it.

The script reads with pandas, fits `implicit` once, recommends for everyone and writes with to_sql;
it evaluates nothing, checks nothing, and its readers see a half-filled table. The night fits twice
and does all that the stages do; the baseline that `evaluate` fits to judge the model by is a fit
too. Each runs in a process of its own, its memory read at the end. What numba compiles on the first
night of an installation, and keeps, a small night before has compiled.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from benchmarks.performance import source
from benchmarks.performance.extract import UNTIL
from benchmarks.performance.harness import Row, Target, apart
from benchmarks.performance.shapes import SHAPES, Shape

DIMS, EPOCHS, N = 128, 12, 50
_FIT = ("train", "refit", "fit", "of evaluate, the baseline's fit")
_LARGE = 20_000_000
_TOML = """
[job]
name = "bench"
[source]
dsn_env = "RECJOBS_BENCH_DSN"
table = "app.ratings"
time = "rated_at"
rating = "rating"
[target]
dsn_env = "RECJOBS_BENCH_DSN"
[holdout]
days = 30
[model]
name = "ials"
[model.params]
embedding_dim = {dims}
epochs = {epochs}
[gate]
min_lift_over_popular = -1.0  # who is better on made data is no matter here
[score]
n = {n}
margin = 0
[artifacts]
root = "{root}"
"""


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Run the night and the script by turns, twice."""
    turns = min(repeats, 2)
    ours: list[Mapping[str, float]] = []
    theirs: list[Mapping[str, float]] = []
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as root:
        with server.database() as small, tempfile.TemporaryDirectory() as scratch:
            source.load(small, SHAPES["S"])
            apart(_night, small, scratch, 0)
        source.load(dsn, shape)
        for turn in range(turns):
            ours.append(apart(_night, dsn, root, turn))
            theirs.append(apart(_script, dsn))
    # What the figures to reach are set for; of a small night, what does not grow is the most.
    large = shape.interactions >= _LARGE
    return [
        _row("outside fitting", ours, theirs, ("≥", 12.0) if large else None, _outside),
        _row("in all", ours, theirs, ("≥", 2.5) if large else None, lambda s: s["all"]),
        _memory(ours, theirs),
    ]


def _row(
    what: str,
    ours: list[Mapping[str, float]],
    theirs: list[Mapping[str, float]],
    target: Target | None,
    of: Callable[[Mapping[str, float]], float],
) -> Row:
    pairs = [(of(a), of(b)) for a, b in zip(ours, theirs, strict=True)]
    ratios = [b / a for a, b in pairs]
    stages = ", ".join(f"{k} {v:.1f}" for k, v in ours[0].items() if k not in ("peak", "all"))
    steps = ", ".join(f"{k} {v:.1f}" for k, v in theirs[0].items() if k not in ("peak", "all"))
    note = f"{pairs[0][0]:.3g} s, {pairs[0][1]:.3g} s"
    if what == "in all":
        note += f"; ours: {stages}; the script: {steps}"
    return Row("night", f"ials {DIMS} dims, {what}", "pandas + implicit + to_sql",
               statistics.median(ratios), min(ratios), max(ratios), target, note)  # fmt: skip


def _outside(seconds: Mapping[str, float]) -> float:
    return seconds["all"] - sum(seconds.get(stage, 0.0) for stage in _FIT)


def _memory(ours: list[Mapping[str, float]], theirs: list[Mapping[str, float]]) -> Row:
    peaks = [each["peak"] / 2**30 for each in ours]
    note = f"GiB; the script's peak: {max(each['peak'] for each in theirs) / 2**30:.2f}"
    return Row("night", "peak resident memory", "nothing", statistics.median(peaks), min(peaks),
               max(peaks), ("≤", 6.0), note)  # fmt: skip


def _night(dsn: str, root: str, turn: int) -> dict[str, float]:
    os.environ["RECJOBS_BENCH_DSN"] = dsn
    started = time.perf_counter()
    from recjobs import migrate, pipeline
    from recjobs.config import load_settings
    from recjobs.runs import run_folder

    config = Path(root) / "bench.toml"
    config.write_text(_TOML.format(dims=DIMS, epochs=EPOCHS, n=N, root=f"{root}/artifacts"))
    settings = load_settings(config)
    if turn == 0:
        migrate.migrate(settings)
    run = pipeline.run_night(settings, UNTIL - timedelta(days=1 - turn))
    seconds = {stage: float(took) for stage, took in run.timings.items()}
    folder = run_folder(run)
    assert folder.finished("publish")
    baselines = folder.manifest("evaluate").summary["baseline_seconds"]
    seconds[_FIT[-1]] = sum(baselines.values())
    return {**seconds, "all": time.perf_counter() - started, "peak": _peak()}


def _script(dsn: str) -> dict[str, float]:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as implicit asks for
    began = time.perf_counter()
    import numpy as np
    import pandas as pd
    from implicit.als import AlternatingLeastSquares
    from scipy import sparse
    from sqlalchemy import create_engine

    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg2:", 1))
    steps: dict[str, float] = {}

    def done(step: str, started: float) -> float:
        now = time.perf_counter()
        steps[step] = now - started
        return now

    now = done("import", began)
    frame = pd.read_sql("select user_id, item_id, rating, rated_at from app.ratings", engine)
    user, users = pd.factorize(frame["user_id"])
    item, items = pd.factorize(frame["item_id"])
    ones = np.ones(len(frame), dtype=np.float32)
    matrix = sparse.csr_matrix((ones, (user, item)), (len(users), len(items)))
    now = done("read", now)
    model = AlternatingLeastSquares(factors=DIMS, iterations=EPOCHS, random_state=1)
    model.fit(matrix, show_progress=False)
    now = done("fit", now)
    best, scores = model.recommend(np.arange(len(users)), matrix, N=N)
    now = done("recommend", now)
    lists = pd.DataFrame(
        {
            "user_id": np.repeat(users, N),
            "rank": np.tile(np.arange(1, N + 1), len(users)),
            "item_id": np.asarray(items)[best.ravel()],
            "score": scores.ravel(),
        }
    )
    # Quicker than method="multi", by four.
    lists.to_sql("script_lists", engine, index=False, if_exists="replace", chunksize=10_000)
    done("write", now)
    return {**steps, "all": time.perf_counter() - began, "peak": _peak()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
