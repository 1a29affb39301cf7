"""Item-item models whose matrix is a sparse one plus a product of thin ones: items² is nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, rows_of
from recjobs.models.base import Arrays, csr_arrays, csr_of
from recjobs.models.nearest import itself
from recjobs.threads import over_rows
from recjobs.topn import TILE_ITEMS, TILE_USERS, top_n_of_scores


@dataclass(frozen=True, slots=True)
class LowRankItemItem:
    """Items relate by W + A B': score(u) = x_u (W + A B').

    Attributes:
        history: x of every user the model knows, float32 CSR ``(n_users, n_items)``.
        weights: W, float32 CSR ``(n_items, n_items)``, column indexes ascending within a row.
        sources: A, float32 ``(n_items, dim)``.
        targets: B, float32 ``(n_items, dim)``.
        known: bool, ``(n_items,)``; of the others, W, A and B are 0.
    """

    history: sparse.csr_matrix
    weights: sparse.csr_matrix
    sources: Float32Array
    targets: Float32Array
    known: BoolArray

    def scores(self, users: Int32Array) -> Float32Array:
        """Return scores float32 ``(b, n_items)``; -inf where no history item has a say."""
        from recjobs.models import relation_kernels

        x, w = self.history, self.weights
        out = np.empty((len(users), len(self.known)), dtype=np.float32)

        def work(rows: slice) -> None:
            vectors = np.zeros((TILE_USERS, self.sources.shape[1]), dtype=np.float32)
            vectors[: rows.stop - rows.start] = rows_of(x, users[rows]) @ self.sources
            products(vectors, self.targets, out[rows])
            relation_kernels.add_sparse(
                users[rows], x.indptr, x.indices, x.data, w.indptr, w.indices, w.data, out[rows]
            )
            relation_kernels.silence(out[rows])

        over_rows(work, len(users), TILE_USERS)
        return out

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the item with the greatest exact contribution, from the model's own histories."""
        from recjobs.models import low_rank_kernels

        x, w = self.history, self.weights
        out = np.full_like(lists, -1)

        def work(rows: slice) -> None:
            low_rank_kernels.because_of_low_rank(
                lists[rows], users[rows], x.indptr, x.indices, x.data,
                w.indptr, w.indices, w.data, self.sources, self.targets, out[rows],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest positive weight."""
        rows = rows_of(self.weights, items).toarray() + self.sources[items] @ self.targets.T
        rows[rows <= 0] = -np.inf
        return top_n_of_scores(rows, items, itself(len(self.known)), candidates, n)

    def state(self) -> Arrays:
        """Return it as arrays to save, beside the known users and items."""
        return {
            **csr_arrays("history", self.history),
            **csr_arrays("weights", self.weights),
            "sources": self.sources,
            "targets": self.targets,
        }

    @classmethod
    def of_state(cls, arrays: Arrays, n_users: int, known: BoolArray) -> LowRankItemItem:
        """Return what `state` took apart."""
        history = csr_of("history", arrays, (n_users, len(known)))
        weights = csr_of("weights", arrays, (len(known), len(known)))
        return cls(history, weights, arrays["sources"], arrays["targets"], known)


def products(left: Float32Array, right: Float32Array, out: Float32Array) -> None:
    """Write the first rows of ``left @ right.T``, the same bits whatever the other rows are.

    Args:
        left: ``(TILE_USERS, dim)``, padded: all products have one shape.
        right: ``(n, dim)``.
        out: ``(n_rows, n)``, n_rows at most TILE_USERS.
    """
    tile = np.empty((TILE_USERS, TILE_ITEMS), dtype=np.float32)
    padded = np.zeros((TILE_ITEMS, right.shape[1]), dtype=np.float32)
    for start in range(0, len(right), TILE_ITEMS):
        part = right[start : start + TILE_ITEMS]
        if len(part) < TILE_ITEMS:
            padded[: len(part)] = part
            part = padded
        np.matmul(left, part.T, out=tile)
        columns = out[:, start : start + TILE_ITEMS]
        columns[:] = tile[: len(out), : columns.shape[1]]
