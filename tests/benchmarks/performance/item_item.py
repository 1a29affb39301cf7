"""The top-50 of item-item models against scipy's product and numpy's argpartition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import sparse

from benchmarks.performance.factors import part, seen_of
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape, training
from recjobs import models
from recjobs.dataset import Int32Array, SeenItems
from recjobs.models.ease import Ease
from recjobs.models.item_knn import ItemKnn
from recjobs.models.ranking import Ranker
from recjobs.threads import cores

N = 50
_FITTED, _USERS, _BLOCK = 6_000, 2_048, 512
#: A dense matrix of more takes minutes to invert.
_DENSE_ITEMS = 8_000


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time `item_knn` and `ease`, fitted on some of the users."""
    shape = part(shape, _FITTED)
    few = shape
    if shape.items > _DENSE_ITEMS:
        few = replace(shape, name=f"{shape.name}, {_DENSE_ITEMS:,} items", items=_DENSE_ITEMS)
    return _row("item_knn", shape, repeats) + _row("ease", few, repeats)


def _row(name: str, shape: Shape, repeats: int) -> list[Row]:
    train = training(shape)
    model = models.make(name, {}, seed=1, threads=cores())
    model.fit(train)
    assert isinstance(model, Ease | ItemKnn)
    seen = seen_of(train)
    users = np.random.default_rng(0).permutation(shape.users)[:_USERS].astype(np.int32)
    ranker = Ranker(model, np.ones(shape.items, dtype=np.bool_))
    relation = model.relation()
    peer = "scipy product + argpartition"
    contenders = {
        name: lambda: ranker.top_n(users, seen, N),
        peer: lambda: _plain(relation.history, relation.weights, users, seen),
    }
    size = f"{len(users):,} users x {shape.items:,} items"
    return [
        interleave(contenders, repeats).row("top-50 of item-item", name, peer, ("≥", 3.0), size)
    ]


def _plain(
    history: sparse.csr_matrix,
    weights: sparse.csr_matrix | np.ndarray,
    users: Int32Array,
    seen: SeenItems,
) -> None:
    for start in range(0, len(users), _BLOCK):
        block = users[start : start + _BLOCK]
        product = history[block] @ weights
        scores = product.toarray() if sparse.issparse(product) else np.asarray(product)
        for row, user in enumerate(block):
            had = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
            scores[row, had[had < scores.shape[1]]] = -np.inf
        best = np.argpartition(scores, scores.shape[1] - N, axis=1)[:, -N:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        np.take_along_axis(best, order, axis=1)
