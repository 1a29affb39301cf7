"""Fitting the models in closed form or by least squares, beside the same done by others.

The same matrix, dims, iterations, steps of the solver and threads; BLAS has one thread beside
`implicit`'s own, as it asks for itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from benchmarks.performance import shapes
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape
from recjobs.models import make

DIMS, EPOCHS, NEIGHBOURS, L2 = 128, 10, 200, 500.0
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
    # Minutes for the 27 thousand items of M: one turn there.
    rows.append(
        _pair("ease", {"l2": L2}, "numpy EASE", _ease, several if shape.items < 9000 else 1)
    )
    return [
        row(train, matrix, note)
        for row, note in zip(rows, (*notes, "the Gram matrix and its inverse"), strict=True)
    ]


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


def _als(matrix: sparse.csr_matrix) -> object:
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
