"""How items relate in a model: which history item weighed most, and which items are similar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import sparse

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, rows_of
from recjobs.models.nearest import Nearest, itself
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS, FactorRanker, columns_of, empty_lists, top_n_of_scores


class ItemRelation(Protocol):
    """Explains recommended items by history items, and finds similar ones."""

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the history item that weighed most for each listed item.

        Args:
            lists: int32, ``(b, n)``; -1 for an entry to leave alone.
            users: int32, ``(b,)``; whose lists these are.
            history: What each user liked.

        Returns:
            Item indexes int32 ``(b, n)``; -1 for an entry left alone or without a reason.
        """

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each item's n nearest candidates, ``(b, n)``, -1 padded, and their likeness."""


@runtime_checkable
class TellsFeatures(Protocol):
    """A relation that explains recommended items by what is known of them, too.

    Attributes:
        names: Of the features, as people know them.
    """

    names: tuple[str, ...]

    def because_features(self, lists: Int32Array, users: Int32Array) -> Int32Array:
        """Return the features that weighed most for each listed item, the most telling first.

        Args:
            lists: int32, ``(b, n)``; -1 for an entry to leave alone.
            users: int32, ``(b,)``; whose lists these are.

        Returns:
            Positions in ``names``, int32 ``(b, n, k)``; -1 where there are fewer than k.
        """


class ItemVectors:
    """Items relate by the cosine of their vectors.

    Args:
        unit: Vectors of length 1, float32 ``(n_items, dim)``; all 0 for an unknown item.

    Attributes:
        unit: The same.
    """

    def __init__(self, unit: Float32Array) -> None:
        self.unit = unit
        self._known: BoolArray = (unit != 0).any(axis=1)
        self._nearest = Nearest(unit, self._known)
        self._ranked: tuple[BoolArray, FactorRanker] | None = None

    @classmethod
    def of(cls, vectors: Float32Array, known: BoolArray) -> ItemVectors:
        """Scale vectors to length 1; those of unknown items become 0."""
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        return cls(vectors * scale * known[:, None])

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the history item with the greatest cosine; unknown items have and are none."""
        from recjobs.models import relation_kernels

        lists = np.where(self._known[lists], lists, np.int32(-1))
        self._nearest.seek(lists, history.indptr[users + 1] - history.indptr[users])
        out = np.full_like(lists, -1)

        def work(rows: slice) -> None:
            relation_kernels.because_of_vectors(
                lists[rows], users[rows], history.indptr, history.indices, self.unit, self._known,
                self._nearest.items, self._nearest.sought, out[rows],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest cosine, the item itself left out."""
        ranker = self._ranker(candidates)
        found, score = ranker.top_n(self.unit, items, itself(len(self.unit)), n)
        return _only(self._known[items], found, score)

    def _ranker(self, candidates: BoolArray) -> FactorRanker:
        """Return what ranks the candidates: the last one, where they are the same."""
        if self._ranked is None or not np.array_equal(self._ranked[0], candidates):
            ranker = FactorRanker(self.unit, candidates & self._known)
            self._ranked = candidates.copy(), ranker
        return self._ranked[1]


@dataclass(frozen=True)
class SparseItemItem:
    """Items relate by a sparse matrix W of non-negative weights: score(u) = x_u W.

    Attributes:
        history: x of every user the model knows, float32 CSR ``(n_users, n_items)``.
        weights: W, float32 CSR ``(n_items, n_items)``, column indexes ascending within a row.
    """

    history: sparse.csr_matrix
    weights: sparse.csr_matrix

    @cached_property
    def _near(self) -> sparse.csr_matrix:
        """W by column: what speaks for an item is what is near to it."""
        return self.weights.T.tocsr()

    def scores(self, users: Int32Array) -> Float32Array:
        """Return scores float32 ``(b, n_items)``; -inf where no history item has a say."""
        from recjobs.models import relation_kernels

        x, w = self.history, self.weights
        out = np.empty((len(users), w.shape[1]), dtype=np.float32)

        def work(rows: slice) -> None:
            relation_kernels.score_sparse(
                users[rows], x.indptr, x.indices, x.data, w.indptr, w.indices, w.data, out[rows]
            )

        over_rows(work, len(users), TILE_USERS)
        return out

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the item with the greatest exact contribution, from the model's own histories."""
        from recjobs.models import relation_kernels

        x, w = self.history, self.weights
        out = np.full_like(lists, -1)

        def work(rows: slice) -> None:
            relation_kernels.because_of_sparse(
                lists[rows], users[rows], x.indptr, x.indices, x.data,
                w.indptr, w.indices, w.data, out[rows],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest weight for the item."""
        rows = rows_of(self._near, items).toarray()
        rows[rows <= 0] = -np.inf
        return top_n_of_scores(rows, items, itself(self.weights.shape[0]), candidates, n)


@dataclass(frozen=True, slots=True)
class DenseItemItem:
    """Items relate by a dense matrix W over the items that occur in training.

    Attributes:
        history: x of every user the model knows, float32 CSR ``(n_users, n_active)``.
        weights: W, float32 ``(n_active, n_active)``, 0 on the diagonal.
        item_of: The item of each row and column, int32 ``(n_active,)``, ascending.
        n_items: Items in the index.
    """

    history: sparse.csr_matrix
    weights: Float32Array
    item_of: Int32Array
    n_items: int

    def scores(self, users: Int32Array) -> Float32Array:
        """Return scores float32 ``(b, n_items)``; -inf where no history item has a say."""
        from recjobs.models import relation_kernels

        x = self.history
        out = np.full((len(users), self.n_items), -np.inf, dtype=np.float32)

        def work(rows: slice) -> None:
            relation_kernels.score_dense(
                users[rows], x.indptr, x.indices, x.data, self.weights, self.item_of, out[rows]
            )

        over_rows(work, len(users), TILE_USERS)
        return out

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the item with the greatest exact contribution, from the model's own histories."""
        from recjobs.models import relation_kernels

        x = self.history
        column_of = columns_of(self.item_of, self.n_items)
        columns = np.where(lists >= 0, column_of[lists], -1).astype(np.int32)
        out = np.full_like(lists, -1)

        def work(rows: slice) -> None:
            relation_kernels.because_of_dense(
                columns[rows], users[rows], x.indptr, x.indices, x.data, self.weights, out[rows]
            )

        over_rows(work, len(users), TILE_USERS)
        return np.where(out >= 0, self.item_of[out], -1).astype(np.int32)

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest positive weight."""
        rows = np.full((len(items), self.n_items), -np.inf, dtype=np.float32)
        column = columns_of(self.item_of, self.n_items)[items]
        has = np.flatnonzero(column >= 0)
        weight = self.weights[column[has]]
        rows[has[:, None], self.item_of] = np.where(weight > 0, weight, -np.inf)
        return top_n_of_scores(rows, items, itself(self.n_items), candidates, n)


def _only(
    rows: BoolArray, item_idx: Int32Array, score: Float32Array
) -> tuple[Int32Array, Float32Array]:
    """Empty the lists of the other rows."""
    blank_item, blank_score = empty_lists(*item_idx.shape)
    keep = rows[:, None]
    return np.where(keep, item_idx, blank_item), np.where(keep, score, blank_score)
