"""A whole night, beside the script that a user would write for it.

The script reads with pandas, fits `implicit` once, recommends for everyone and writes with to_sql;
it evaluates nothing, checks nothing, and its readers see a half-filled table. The night fits twice
and does all that the stages do; the baseline that `evaluate` fits to judge the model by is a fit
too. Each runs in a process of its own, its memory read at the end. What numba compiles on the first
night of an installation, and keeps, a small night before has compiled.

There are two nights: one of a job that reads everything, the default, and one of a job that reuses
the days which its night before has kept, as six in seven do with ``source.full_every = 7``.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.performance import source
from benchmarks.performance.extract import UNTIL
from benchmarks.performance.harness import Row, Target, apart
from benchmarks.performance.shapes import SHAPES, Shape
from recjobs import db

DIMS, EPOCHS, N = 128, 12, 50
_FIT = ("train", "refit", "fit", "of evaluate, the baseline's fit")
_NO_STEPS = ("all", "peak", "parts reused")
_LARGE = 20_000_000
#: By job: one night in so many reads everything.
_REUSING = "days reused"
_FULL_EVERY = {"everything read": 1, _REUSING: 7}
_TOML = """
[job]
name = "{job}"
schema = "{job}"
[source]
dsn_env = "RECJOBS_BENCH_DSN"
table = "app.ratings"
time = "rated_at"
rating = "rating"
full_every = {full_every}
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
    """Run the nights and the script by turns, twice."""
    turns = min(repeats, 2)
    nights: dict[str, list[Mapping[str, float]]] = {job: [] for job in _FULL_EVERY}
    theirs: list[Mapping[str, float]] = []
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as root:
        with server.database() as small, tempfile.TemporaryDirectory() as scratch:
            _load(small, SHAPES["S"])
            for job in nights:
                apart(_night, small, scratch, job, UNTIL)
        _load(dsn, shape)
        apart(_night, dsn, root, _REUSING, UNTIL - timedelta(days=turns))
        for turn in reversed(range(turns)):
            for job, runs in nights.items():
                runs.append(apart(_night, dsn, root, job, UNTIL - timedelta(days=turn)))
            theirs.append(apart(_script, dsn))
    if not all(run["parts reused"] for run in nights[_REUSING]):
        raise RuntimeError(f"a night reused nothing: {nights[_REUSING]}")
    # What the figures to reach are set for; of a small night, what does not grow is the most.
    large = shape.interactions >= _LARGE
    found = []
    for job, ours in nights.items():
        found += [
            _row(f"{job}, outside fitting", ours, theirs, ("≥", 12.0) if large else None, _outside),
            _row(f"{job}, in all", ours, theirs, ("≥", 2.5) if large else None, _all),
        ]
    return [*found, _memory([run for runs in nights.values() for run in runs], theirs)]


def _load(dsn: str, shape: Shape) -> None:
    source.load(dsn, shape)
    with db.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create index on app.ratings (rated_at)")


def _row(
    what: str,
    ours: list[Mapping[str, float]],
    theirs: list[Mapping[str, float]],
    target: Target | None,
    of: Callable[[Mapping[str, float]], float],
) -> Row:
    pairs = [(of(a), of(b)) for a, b in zip(ours, theirs, strict=True)]
    ratios = [b / a for a, b in pairs]
    note = f"{pairs[0][0]:.3g} s, {pairs[0][1]:.3g} s"
    if of is _all:
        note += f"; ours: {_steps(ours[0])}; the script: {_steps(theirs[0])}"
    return Row("night", f"ials {DIMS} dims, {what}", "pandas + implicit + to_sql",
               statistics.median(ratios), min(ratios), max(ratios), target, note)  # fmt: skip


def _steps(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:.1f}" for k, v in seconds.items() if k not in _NO_STEPS)


def _all(seconds: Mapping[str, float]) -> float:
    return seconds["all"]


def _outside(seconds: Mapping[str, float]) -> float:
    return seconds["all"] - sum(seconds.get(stage, 0.0) for stage in _FIT)


def _memory(ours: list[Mapping[str, float]], theirs: list[Mapping[str, float]]) -> Row:
    peaks = [each["peak"] / 2**30 for each in ours]
    note = f"GiB; the script's peak: {max(each['peak'] for each in theirs) / 2**30:.2f}"
    return Row("night", "peak resident memory", "nothing", statistics.median(peaks), min(peaks),
               max(peaks), ("≤", 6.0), note)  # fmt: skip


def _night(dsn: str, root: str, job: str, as_of: datetime) -> dict[str, float]:
    os.environ["RECJOBS_BENCH_DSN"] = dsn
    started = time.perf_counter()
    from recjobs import migrate, pipeline
    from recjobs.config import load_settings
    from recjobs.runs import run_folder

    name = job.replace(" ", "_")
    config = Path(root) / f"{name}.toml"
    config.write_text(
        _TOML.format(job=name, full_every=_FULL_EVERY[job], dims=DIMS, epochs=EPOCHS, n=N,
                     root=f"{root}/artifacts")
    )  # fmt: skip
    settings = load_settings(config)
    migrate.migrate(settings)
    run = pipeline.run_night(settings, as_of)
    seconds = {stage: float(took) for stage, took in run.timings.items()}
    folder = run_folder(run)
    assert folder.finished("publish")
    baselines = folder.manifest("evaluate").summary["baseline_seconds"]
    seconds[_FIT[-1]] = sum(baselines.values())
    parts = folder.manifest("extract").summary["parts"]
    reused = float(parts["reused"]) if parts else 0.0
    took = time.perf_counter() - started
    return {**seconds, "all": took, "peak": _peak(), "parts reused": reused}


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
