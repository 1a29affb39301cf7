"""Fitting the models in closed form or by least squares, beside the same done by others.

The same matrix, dims, iterations, steps of the solver and threads; BLAS has one thread beside
`implicit`'s own, as it asks for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.performance import shapes
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape
from recjobs.config import HoldoutSettings, Settings
from recjobs.dataset import Float32Array
from recjobs.evaluate.holdout import holdout
from recjobs.evaluate.ranking import LIST_LENGTH
from recjobs.evaluate.table import RANKING_METRICS, accuracy
from recjobs.models import make
from recjobs.models.ials import Ials, IalsSettings
from recjobs.split import split
from recjobs.topn import FactorRanker

DIMS, EPOCHS, NEIGHBOURS, L2 = 128, 10, 200, 500.0
#: Items whose matrix numpy inverts: its OpenBLAS ends at 27,000 by a segmentation fault.
INVERTIBLE = 20_000
THREADS = os.cpu_count() or 1


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time the fits."""
    train = shapes.training(shape)
    matrix = train.positives()
    several = min(repeats, 3)
    rows = [
        _pair("ials", {"embedding_dim": DIMS, "epochs": EPOCHS}, "implicit ALS", _als, several),
        _pair("item_knn", {"neighbours": NEIGHBOURS}, "implicit item-kNN", _item_knn, several),
    ]
    notes = (
        f"{DIMS} dims, {EPOCHS} iterations, 3 steps of conjugate gradients; ours ends with a full "
        "solution for the users",
        f"{NEIGHBOURS} neighbours, cosine",
    )
    compared = [row(train, matrix, note) for row, note in zip(rows, notes, strict=True)]
    del train, matrix
    return [*compared, _inverted(shape, several), *_equal_ndcg(shape, several)]


def _inverted(shape: Shape, repeats: int) -> Row:
    """Compare `ease` on as many items as numpy can invert a matrix for."""
    train = shapes.training(replace(shape, items=min(shape.items, INVERTIBLE)))
    note = f"the Gram matrix and its inverse, {train.n_items:,} items"
    if shape.items > INVERTIBLE:
        note += f" (numpy ends the process with {shape.items:,})"
    # Minutes for so many: one turn there.
    turns = repeats if shape.items < 9000 else 1
    return _pair("ease", {"l2": L2}, "numpy EASE", _ease, turns)(train, train.positives(), note)


def _pair(
    name: str, params: dict[str, object], peer: str, theirs: Callable[..., object], repeats: int
) -> Callable[..., Row]:
    def row(train: object, matrix: sparse.csr_matrix, note: str) -> Row:
        def ours() -> None:
            make(name, params, seed=1, threads=THREADS).fit(train)

        contenders = {f"{name} fit": ours, peer: lambda: theirs(matrix)}
        timings = interleave(contenders, repeats, warm=repeats > 1)
        return timings.row("fit", f"{name} fit", peer, ("≥", 1.0), f"{note}; {THREADS} threads")

    return row


def _equal_ndcg(shape: Shape, repeats: int) -> list[Row]:
    """Time `ials` until its NDCG@10 on each user's last item is that of the peer's ten iterations.

    Both with the regularization that they come with; a ratio of 0 where it never gets there.
    """
    settings = Settings.model_validate({"job": {"name": "bench"}, "source": {"table": "none"}})
    log = shapes.interactions(shape)
    parts = split(log, HoldoutSettings(kind="last_per_user", last=1), shapes.AS_OF)
    judged = holdout(log, parts, settings)
    matrix = judged.train.positives()

    def fit(epochs: int) -> Ials:
        settings = IalsSettings(embedding_dim=DIMS, epochs=epochs)
        model = Ials(settings, seed=1, threads=THREADS)
        model.fit(judged.train)
        return model

    def ndcg(users: Float32Array, items: Float32Array) -> float:
        ranker = FactorRanker(items, judged.train.candidates)
        lists, _ = ranker.top_n(users, judged.users, judged.seen, LIST_LENGTH)
        return float(accuracy(judged, lists)[:, RANKING_METRICS.index("ndcg@10")].mean())

    peer = _als(matrix)
    goal = ndcg(peer.user_factors, peer.item_factors)
    reached = {epochs: ndcg(*fit(epochs).factors()) for epochs in range(1, EPOCHS + 1)}
    enough = next((epochs for epochs, value in reached.items() if value >= goal), None)
    ours, theirs = "ials to the NDCG of", "implicit ALS"
    if enough is None:
        best = max(reached, key=lambda epochs: reached[epochs])
        note = f"never: NDCG@10 {goal:.4f} after {EPOCHS} iterations; ours at most "
        note += f"{reached[best]:.4f}, after {best}"
        return [Row("fit", ours, theirs, 0.0, 0.0, 0.0, ("≥", 1.0), note)]
    timings = interleave({ours: lambda: fit(enough), theirs: lambda: _als(matrix)}, repeats)
    note = (
        f"NDCG@10 {goal:.4f} after {EPOCHS} iterations; ours {reached[enough]:.4f} after {enough}, "
        f"{reached[EPOCHS]:.4f} after {EPOCHS}"
    )
    return [timings.row("fit", ours, theirs, ("≥", 1.0), note)]


def _als(matrix: sparse.csr_matrix) -> Any:
    from implicit.als import AlternatingLeastSquares

    with threadpool_limits(1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=DIMS, iterations=EPOCHS, use_cg=True, num_threads=THREADS, random_state=1
        )
        model.fit(matrix, show_progress=False)
    return model


def _item_knn(matrix: sparse.csr_matrix) -> object:
    from implicit.nearest_neighbours import CosineRecommender

    model = CosineRecommender(K=NEIGHBOURS, num_threads=THREADS)
    model.fit(matrix, show_progress=False)
    return model


def _ease(matrix: sparse.csr_matrix) -> np.ndarray:
    gram = (matrix.T @ matrix).toarray()
    gram[np.diag_indices(len(gram))] += np.float32(L2)
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights
