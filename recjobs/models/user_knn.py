"""User-based collaborative filtering: cosine of histories with shrinkage, nearest neighbours.

Score: the sum, over the ``neighbours`` nearest users v of u, of s_uv x_vi, where
s_uv = x_u·x_v / (|u| |v| + s) and s is the shrinkage, which tones down likeness that rests on few
items. Nothing is sampled; likeness is computed for some users at a time, against all the others,
and only the nearest are kept.
Resnick, Iacovou, Suchak, Bergstrom and Riedl, "GroupLens: An Open Architecture for Collaborative
Filtering of Netnews", CSCW 1994.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems, TrainingSet
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
from recjobs.models.gram import lengths, nearest
from recjobs.models.nearest import itself
from recjobs.progress import Progress, silent
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS, top_n_of_scores

_TINY = np.float32(1e-30)  # a shrinkage of 0 divides by it where there is no history


class UserKnnSettings(Section):
    """Hyperparameters of `UserKnn`."""

    neighbours: int = Field(default=200, ge=1)  #: per user
    shrinkage: float = Field(default=20.0, ge=0)  #: added to the cosine's denominator


@dataclass(frozen=True, slots=True)
class NeighbourRelation:
    """Items relate by the users who like both.

    Attributes:
        history: x of every user the model knows, float32 CSR ``(n_users, n_items)``.
        near: Each user's neighbours, int32 ``(n_users, k)``, -1 padded.
        shrinkage: Of the likeness of users, and of items.
        users: Lengths of their histories, float32 ``(n_users,)``.
        items: Lengths of their columns of x, float32 ``(n_items,)``.
    """

    history: sparse.csr_matrix
    near: Int32Array
    shrinkage: float
    users: Float32Array = field(init=False)
    items: Float32Array = field(init=False)

    def __post_init__(self) -> None:
        x = self.history
        user = np.repeat(np.arange(x.shape[0], dtype=np.int32), np.diff(x.indptr))
        object.__setattr__(self, "users", lengths(user, x.data, x.shape[0]))
        object.__setattr__(self, "items", lengths(x.indices, x.data, x.shape[1]))

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the item by which the neighbours are neighbours most, weighed by their say."""
        from recjobs.models import user_knn_kernels

        x = self.history
        out = np.full_like(lists, -1)

        def work(rows: slice) -> None:
            user_knn_kernels.because_of_neighbours(
                lists[rows], users[rows], self.near, x.indptr, x.indices, x.data,
                self.users, np.float32(self.shrinkage) + _TINY, out[rows],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest cosine of their users."""
        x = self.history
        rows = (x[:, items].T @ x).toarray().astype(np.float32)
        rows /= self.items[items, None] * self.items + np.float32(self.shrinkage) + _TINY
        rows[rows <= 0] = -np.inf
        return top_n_of_scores(rows, items, itself(x.shape[1]), candidates, n)


class UserKnn(BlockModel):
    """Recommends what users of a similar history liked."""

    name: ClassVar[str] = "user_knn"
    Settings: ClassVar[type[Section]] = UserKnnSettings
    settings: UserKnnSettings
    _relation: NeighbourRelation
    _likeness: Float32Array

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Find each user's nearest neighbours; see `Model.fit`."""
        train.require_rows()
        history = strengths(train)
        self.known_users, self.known_items = known_of(history)
        near, self._likeness = self._nearest(history, progress)
        self._relation = NeighbourRelation(history, near, self.settings.shrinkage)
        return CLOSED_FORM

    def _nearest(
        self, history: sparse.csr_matrix, progress: Progress
    ) -> tuple[Int32Array, Float32Array]:
        chosen = self.settings
        by_item = history.T.tocsr()
        by_item.indptr = by_item.indptr.astype(np.int64)
        return nearest(by_item, chosen.neighbours, chosen.shrinkage, self.threads, progress)

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        from recjobs.models import user_knn_kernels

        x, near = self._relation.history, self._relation.near
        out = np.empty((len(user_idx), x.shape[1]), dtype=np.float32)

        def work(rows: slice) -> None:
            user_knn_kernels.score_by_neighbours(
                user_idx[rows], near, self._likeness, x.indptr, x.indices, x.data, out[rows]
            )

        over_rows(work, len(user_idx), TILE_USERS)
        return out

    def relation(self) -> NeighbourRelation:
        """Return how users who like both relate items."""
        return self._relation

    def _state(self) -> Arrays:
        relation = self._relation
        return {
            **csr_arrays("history", relation.history),
            "near": relation.near,
            "likeness": self._likeness,
        }

    def _restore(self, arrays: Arrays) -> None:
        history = csr_of("history", arrays, (len(self.known_users), len(self.known_items)))
        self._likeness = arrays["likeness"]
        self._relation = NeighbourRelation(history, arrays["near"], self.settings.shrinkage)
