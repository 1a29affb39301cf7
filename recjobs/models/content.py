"""Recommendation by content: what is like the things that a user liked.

Score: cos(p_u, f_i) + ``popularity`` m_i. f_i is the item's row of words, categories and numbers
(see `recjobs.models.feature_rows`); p_u the mean of the rows of what the user liked, each weighted
by its strength and halved per ``half_life_days`` before the user's last interaction, plus
``own_features`` times the row of the user's own text and categories. m_i is the item's log
popularity; of a new item, the one that a ridge regression on the rows expects; in between, the more
people liked the item, the less the expectation counts. So items without any interaction are
recommended as well as old ones. Nothing is sampled.

Lops, de Gemmis and Semeraro, "Content-based Recommender Systems", Recommender Systems Handbook,
2011; Hoerl and Kennard, "Ridge Regression", Technometrics 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from pydantic import Field
from scipy import sparse
from scipy.sparse.linalg import lsmr

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import Section
from recjobs.dataset import (
    BoolArray,
    Float32Array,
    Int32Array,
    SeenItems,
    TrainingSet,
    rows_of,
)
from recjobs.errors import ConfigError
from recjobs.models.base import (
    CLOSED_FORM,
    Arrays,
    BlockModel,
    History,
    csr_arrays,
    csr_of,
    strengths,
)
from recjobs.models.feature_rows import FeatureRows, unit_rows
from recjobs.models.nearest import itself
from recjobs.models.relations import SparseItemItem
from recjobs.progress import Progress, silent
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS, top_n_of_scores

#: Features that explain one item: enough for a line.
_TOLD: Final = 3
#: The expectation of an item's popularity counts as much as so many people who like it.
_EXPECTED_AS: Final = 10.0


class ContentSettings(Section):
    """Hyperparameters of `Content`."""

    text: float = Field(default=1.5, ge=0)  #: weight of the words in an item's row
    categories: float = Field(default=1.0, ge=0)  #: weight of its categories
    numbers: float = Field(default=1.0, ge=0)  #: weight of its numbers
    half_life_days: float | None = Field(default=365.0, gt=0)  #: what was liked counts half
    own_features: float = Field(default=1.0, ge=0)  #: weight of the user's own text and categories
    popularity: float = Field(default=0.3, ge=0)  #: weight of the popularity, known or expected
    l2: float = Field(default=10.0, gt=0)  #: of the regression that expects a new item's


class Content(BlockModel):
    """Recommends items whose features are those of what the user liked."""

    name: ClassVar[str] = "content"
    Settings: ClassVar[type[Section]] = ContentSettings
    needs_features: ClassVar[bool] = True
    settings: ContentSettings
    _history: sparse.csr_matrix
    _rows: sparse.csr_matrix
    _by_feature: sparse.csr_matrix
    _own: sparse.csr_matrix
    _popularity: Float32Array
    _names: tuple[str, ...]
    _name_of: Int32Array

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Turn features into rows; see `Model.fit`."""
        train.require_rows()
        require_item_features(train, self.name)
        settings = self.settings
        by_items = FeatureRows(
            train.log.item_features,
            text=settings.text,
            categories=settings.categories,
            numbers=settings.numbers,
        )
        self._rows = _wide(by_items.rows(train.log.item_features))
        self._names, self._name_of = by_items.names, by_items.name_of
        self.known_items = np.diff(self._rows.indptr) > 0
        progress(0.5, f"{self.known_items.sum():,} items with {self._rows.shape[1]:,} features")
        self._by_feature = _wide(self._rows.T.tocsr())
        liked = strengths(train)
        self._popularity = self._log_popularity(np.asarray(liked.sum(axis=0)).ravel())
        self._history = halved(liked, train, settings.half_life_days)
        self._own = self._rows[:0]
        if len(train.log.user_features):
            self._own = _wide(by_items.rows(train.log.user_features, numbers=False))
        self.known_users = self._known_users()
        return CLOSED_FORM

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        profiles = self._profiles(user_idx)
        likeness = SparseItemItem(profiles, self._by_feature)
        scores = likeness.scores(np.arange(len(user_idx), dtype=np.int32))
        scores[np.isneginf(scores)] = 0
        scores += self._popularity
        scores[:, ~self.known_items] = -np.inf
        return scores

    def relation(self) -> FeatureRelation:
        """Return how items relate: by the cosine of their rows."""
        return FeatureRelation(
            self._history, self._rows, self._profiles, self._names, self._name_of
        )

    def _profiles(self, users: Int32Array) -> sparse.csr_matrix:
        # Sorted, for scipy adds up otherwise where any row of a block is not.
        liked: sparse.csr_matrix = unit_rows(_wide(rows_of(self._history, users) @ self._rows))
        if self._own.shape[0]:
            liked = liked + rows_of(self._own, users) * np.float32(self.settings.own_features)
        return _wide(unit_rows(liked))

    def _known_users(self) -> BoolArray:
        """Return who has a profile: who liked something with features, or has some themselves."""
        likes: BoolArray = self._history @ self.known_items.astype(np.float32) > 0
        if self._own.shape[0] and self.settings.own_features:
            likes |= np.diff(self._own.indptr) > 0
        return likes

    def _log_popularity(self, popular: Float32Array) -> Float32Array:
        """Return the part of each item's score that its popularity makes, known or expected."""
        some = np.flatnonzero((popular > 0) & self.known_items)
        known = np.log1p(popular.astype(np.float64))
        known -= known[some].mean() if len(some) else 0
        rows = self._rows[some].astype(np.float64)
        damp = np.sqrt(self.settings.l2)
        expected = self._rows @ lsmr(rows, known[some], damp=damp, atol=1e-6, btol=1e-6)[0]
        share = popular / (popular + _EXPECTED_AS)
        mixed = self.settings.popularity * (expected + share * (known - expected))
        return np.asarray(mixed, dtype=np.float32)

    def _state(self) -> Arrays:
        return {
            **csr_arrays("history", self._history),
            **csr_arrays("rows", self._rows),
            **csr_arrays("own", self._own),
            "dim": np.array(self._rows.shape[1]),
            "popularity": self._popularity,
            "names": np.frombuffer("\0".join(self._names).encode(), dtype=np.uint8),
            "name_of": self._name_of,
        }

    def _restore(self, arrays: Arrays) -> None:
        n_users, n_items, dim = len(self.known_users), len(self.known_items), int(arrays["dim"])
        self._history = csr_of("history", arrays, (n_users, n_items))
        self._rows = csr_of("rows", arrays, (n_items, dim))
        self._by_feature = _wide(self._rows.T.tocsr())
        self._own = csr_of("own", arrays, (len(arrays["own_indptr"]) - 1, dim))
        self._popularity = arrays["popularity"]
        self._names = tuple(arrays["names"].tobytes().decode().split("\0"))
        self._name_of = arrays["name_of"]


@dataclass(frozen=True, slots=True)
class FeatureRelation:
    """Items relate by the cosine of their features.

    Attributes:
        history: What each user liked and how much, float32 CSR ``(n_users, n_items)``.
        rows: Of length 1, float32 CSR ``(n_items, dim)``.
        profiles: Returns users' profiles, float32 CSR ``(b, dim)``.
        names: Of the features.
        name_of: The name of each of a row's places, int32 ``(dim,)``, ascending.
    """

    history: sparse.csr_matrix
    rows: sparse.csr_matrix
    profiles: Callable[[Int32Array], sparse.csr_matrix]
    names: tuple[str, ...]
    name_of: Int32Array

    def because(self, lists: Int32Array, users: Int32Array, history: SeenItems) -> Int32Array:
        """Return the item with the greatest contribution, from the model's own histories."""
        from recjobs.models import content_kernels

        x, f = self.history, self.rows
        out = np.full_like(lists, -1)

        def work(part: slice) -> None:
            content_kernels.because_of_rows(
                lists[part], users[part], x.indptr, x.indices, x.data,
                f.indptr, f.indices, f.data, f.shape[1], out[part],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def because_features(self, lists: Int32Array, users: Int32Array) -> Int32Array:
        """Return the features that add most to the likeness of profile and item."""
        from recjobs.models import content_kernels

        f = self.rows
        out = np.full((*lists.shape, _TOLD), -1, dtype=np.int32)

        def work(part: slice) -> None:
            p = self.profiles(users[part])
            content_kernels.telling_features(
                lists[part], p.indptr, p.indices, p.data,
                f.indptr, f.indices, f.data, self.name_of, out[part],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out

    def similar(
        self, items: Int32Array, candidates: BoolArray, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return the candidates with the greatest cosine."""
        scores = (rows_of(self.rows, items) @ self.rows.T).toarray()
        scores[scores <= 0] = -np.inf
        return top_n_of_scores(scores, items, itself(self.rows.shape[0]), candidates, n)


def require_item_features(train: TrainingSet, model: str) -> None:
    """Refuse a training set whose items have no features.

    Raises:
        ConfigError: Nothing is known of any item.
    """
    if not train.log.item_features.given.any():
        raise ConfigError(
            f"{model} needs to know something of the items. Received: no features. "
            'Set source.items.text, categories or numbers, such as text = ["title"].'
        )


def halved(
    liked: sparse.csr_matrix, train: TrainingSet, half_life_days: float | None
) -> sparse.csr_matrix:
    """Halve a user's strengths for every half-life before the last interaction that is liked."""
    if half_life_days is not None and liked.nnz:
        ts = train.ts[train.positive & train.trained[train.user_idx]]
        size = np.diff(liked.indptr)
        some = np.flatnonzero(size)
        last = np.repeat(np.maximum.reduceat(ts, liked.indptr[some]), size[some])
        age_days = (last - ts) / MICROSECONDS_PER_DAY
        liked.data *= np.exp2(-age_days / half_life_days).astype(np.float32)
    return liked


def _wide(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the matrix with the index types that the kernels are compiled for."""
    matrix.sort_indices()
    matrix.data = matrix.data.astype(np.float32, copy=False)
    matrix.indptr = matrix.indptr.astype(np.int64)
    matrix.indices = matrix.indices.astype(np.int32)
    return matrix
