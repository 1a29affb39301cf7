"""Everyone's lists, scored and published: does the shape fit into a small machine's memory?

Vectors are drawn, so that no bound spares a product: the dearest case of any factor model. Each
stage runs as a night runs it, in a process of its own, whose peak is what is told.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.performance import publish, shapes, source
from benchmarks.performance.harness import Row, apart
from benchmarks.performance.shapes import AS_OF, Shape

DIMS = 64


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Score and publish once."""
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        apart(_prepare, shape, folder)
        scored = apart(_score, folder)
        publish.Job(dsn, folder).migrated()
        published = apart(_publish, dsn, folder)
    return [
        _row("scoring", *scored, f"{shape.users:,} users x {shape.items:,} items, {DIMS} dims"),
        _row("publishing", *published, f"{shape.users:,} lists of {publish.N}"),
    ]


def _row(what: str, seconds: float, peak: int, note: str) -> Row:
    gib = peak / 2**30
    return Row("large", f"peak resident memory of {what}", "nothing", gib, gib, gib, ("≤", 8.0),
               f"GiB; {note}; {seconds:.0f} s")  # fmt: skip


def _prepare(shape: Shape, folder: Path) -> None:
    """Leave what the stages before would: the index, and a model."""
    from recjobs.models.ials import Ials, IalsSettings

    shapes.interactions(shape).save(folder)
    rng = np.random.default_rng(0)
    model = Ials(IalsSettings(embedding_dim=DIMS), seed=0, threads=1)
    model.user_vectors = rng.standard_normal((shape.users, DIMS), dtype=np.float32)
    model.item_vectors = rng.standard_normal((shape.items, DIMS), dtype=np.float32)
    model.known_users = np.ones(shape.users, dtype=np.bool_)
    model.known_items = np.ones(shape.items, dtype=np.bool_)
    model._l2 = model._alpha0 = 1.0
    model.save(folder / "model")


def _score(folder: Path) -> tuple[float, int]:
    from recjobs import models
    from recjobs.artifacts import StageOutput
    from recjobs.config import Settings
    from recjobs.dataset import Interactions
    from recjobs.progress import silent
    from recjobs.score import Scorer
    from recjobs.shards import Shard

    settings = Settings.model_validate(
        {
            "job": {"name": "bench"},
            "source": {"table": "none"},
            "score": {"n": publish.N, "margin": 0},
        }
    )
    started = time.perf_counter()
    log = Interactions.load(*(folder / name for name in Interactions.FILES))
    scorer = Scorer(models.load("ials", folder / "model"), log, AS_OF, settings)
    out = StageOutput(folder)
    scorer.lists(Shard(1, 1), out, silent)
    scorer.rest(out)
    return time.perf_counter() - started, _peak()


def _publish(dsn: str, folder: Path) -> tuple[float, int]:
    started = time.perf_counter()
    publish.load(dsn, folder / "lists.parquet")
    return time.perf_counter() - started, _peak()


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
