"""Item-based collaborative filtering: cosine of co-occurrence with shrinkage, nearest neighbours.

Score: the sum, over the user's history h, of x_h S[h, i], where S[h, i] = g_hi / (|h| |i| + s) for
the ``neighbours`` nearest h of each i, g = X'X, |i| = sqrt(g_ii) and s the shrinkage, which tones
down likeness seen in few users. Nothing is sampled; the matrix is built row by row and kept sparse.
Sarwar, Karypis, Konstan and Riedl, "Item-based Collaborative Filtering Recommendation Algorithms",
WWW 2001.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.models.base import (
    CLOSED_FORM,
    Arrays,
    BlockModel,
    History,
    csr_arrays,
    csr_of,
    known_of,
    strengths,
)
from recjobs.models.gram import nearest
from recjobs.models.relations import SparseItemItem
from recjobs.progress import Progress, silent


class ItemKnnSettings(Section):
    """Hyperparameters of `ItemKnn`."""

    neighbours: int = Field(default=200, ge=1)  #: per item
    shrinkage: float = Field(default=20.0, ge=0)  #: added to the cosine's denominator


class ItemKnn(BlockModel):
    """Recommends what is near to what the user liked."""

    name: ClassVar[str] = "item_knn"
    Settings: ClassVar[type[Section]] = ItemKnnSettings
    settings: ItemKnnSettings
    _relation: SparseItemItem

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Find each item's nearest neighbours; see `Model.fit`."""
        train.require_rows()
        history = strengths(train)
        self.known_users, self.known_items = known_of(history)
        self._relation = SparseItemItem(history, self._nearest(history, progress))
        return CLOSED_FORM

    def _nearest(self, history: sparse.csr_matrix, progress: Progress) -> sparse.csr_matrix:
        chosen = self.settings
        return _transposed(
            *nearest(history, chosen.neighbours, chosen.shrinkage, self.threads, progress)
        )

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        return self._relation.scores(user_idx)

    def relation(self) -> SparseItemItem:
        """Return the item-item matrix."""
        return self._relation

    def _state(self) -> Arrays:
        relation = self._relation
        return {
            **csr_arrays("history", relation.history),
            **csr_arrays("weights", relation.weights),
        }

    def _restore(self, arrays: Arrays) -> None:
        shape = (len(self.known_users), len(self.known_items))
        history = csr_of("history", arrays, shape)
        self._relation = SparseItemItem(history, csr_of("weights", arrays, (shape[1], shape[1])))


def _transposed(near: Int32Array, score: Float32Array) -> sparse.csr_matrix:
    """Return W as CSR by history item h, from each item i's list of nearest h."""
    item, place = np.nonzero(near >= 0)
    shape = (len(near), len(near))
    weights = sparse.csr_matrix((score[item, place], (near[item, place], item)), shape=shape)
    weights.sort_indices()
    weights.indptr = weights.indptr.astype(np.int64)
    return weights
