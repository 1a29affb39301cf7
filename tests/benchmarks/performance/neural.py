"""The exact top-50 by `ncf`'s network over all pairs against Keras's `predict` on the pairs.

As it is done, in whole numbers first, and with every score in float32, as `blend` takes them.
"""

from __future__ import annotations

import functools

import numpy as np

from benchmarks.performance.factors import part, seen_of
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape, training
from recjobs import models
from recjobs.models.base import BlockModel
from recjobs.models.ncf import NcfSettings
from recjobs.models.ncf_network import build_network
from recjobs.models.ranking import Ranker
from recjobs.models.training import start_keras
from recjobs.threads import cores
from recjobs.topn import top_n_of_scores

N = 50
_USERS = 128
_BATCHES = (8192, 65_536, 262_144)


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time some users' pairs; the weights are those of one epoch, for their values cost nothing."""
    train = training(part(shape, 1024))
    model = models.make("ncf", {}, seed=1, threads=cores())
    model.fit(train, epochs=1)
    assert isinstance(model, BlockModel)
    ranker = Ranker(model, np.ones(shape.items, dtype=np.bool_))
    users = np.arange(_USERS, dtype=np.int32)
    _, keras = start_keras(1, cores())
    network = build_network(keras, train.n_users, shape.items, NcfSettings(dropout=0.5), seed=1)
    pairs = [np.repeat(users, shape.items), np.tile(np.arange(shape.items), _USERS)]
    predict = functools.partial(network.predict, pairs, verbose=0)
    batches = {
        f"Keras predict by {batch:,}": functools.partial(predict, batch_size=batch)
        for batch in _BATCHES
    }
    ours, whole = "ncf, top-50 of all pairs", "ncf, every pair in float32"
    seen = seen_of(train)
    lists = {
        ours: lambda: ranker.top_n(users, seen, N),
        whole: lambda: top_n_of_scores(model.score_block(users), users, seen, model.known_items, N),
    }
    timings = interleave({**lists, **batches}, repeats)
    best = min(batches, key=timings.median)
    size = f"{len(pairs[0]):,} pairs"
    return [
        timings.row("top-50 of a network", name, best, ("≥", target), size)
        for name, target in ((ours, 8.0), (whole, 5.0))
    ]
