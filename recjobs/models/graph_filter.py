"""GF-CF: collaborative filtering as graph filtering, with nothing to train.

Score: x_u (R'R + a D^-1/2 V V' D^1/2), where R is the matrix of positives with every entry divided
by the square roots of its row's and its column's sum, D holds the columns' sums, V the leading
right singular vectors of R, of its `large_parts`, and a is ``ideal_weight``. R'R is a linear
low-pass filter on the graph of items, V V' the ideal one. Nothing is sampled. R'R is kept sparse
and the rest as vectors, so that items² is nowhere.
Shen, Wu, Zhang, Shan, Zhang, Letaief and Li, "How Powerful is Graph Convolution for
Recommendation?", CIKM 2021.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from recjobs.config import Section
from recjobs.dataset import BoolArray, Float32Array, Int32Array, TrainingSet
from recjobs.errors import ConfigError
from recjobs.models.base import CLOSED_FORM, Arrays, BlockModel, History, known_of, strengths
from recjobs.models.free_memory import free_memory
from recjobs.models.gram import sparse_gram
from recjobs.models.low_rank import LowRankItemItem
from recjobs.progress import Progress, silent
from recjobs.threads import blas_threads

#: Where users or items are at most so many, the singular vectors are exact.
_EXACT: Final = 1000
#: Else they are of a random subspace, so much larger, after so many passes over the data.
_OVERSAMPLES: Final = 64
_PASSES: Final = 4
#: Memory at the peak of a fit, as a multiple of the co-occurrences.
_PEAK: Final = 2.5


class GraphFilterSettings(Section):
    """Hyperparameters of `GraphFilter`."""

    embedding_dim: int = Field(default=256, ge=1)  #: singular vectors of the ideal filter
    ideal_weight: float = Field(default=0.3, ge=0)  #: of the ideal filter beside the linear one


class GraphFilter(BlockModel):
    """Recommends what the user's history lights up on the graph of items."""

    name: ClassVar[str] = "graph_filter"
    Settings: ClassVar[type[Section]] = GraphFilterSettings
    settings: GraphFilterSettings
    _relation: LowRankItemItem

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Multiply and decompose; see `Model.fit`.

        Raises:
            DataError: The set has nothing to learn from.
            ConfigError: The co-occurrences may not fit into memory.
        """
        train.require_rows()
        history = strengths(train)
        require_memory(history, free_memory())
        self.known_users, self.known_items = known_of(history)
        of_user, of_item = (
            np.sqrt(np.asarray(history.sum(axis=axis, dtype=np.float64)).ravel()) for axis in (1, 0)
        )
        normal = history.copy()
        normal.data = (
            history.data / np.repeat(of_user, np.diff(history.indptr)) / of_item[history.indices]
        ).astype(np.float32)
        progress(0.0, "singular vectors")
        vectors = self._singular_vectors(normal)
        sources = np.zeros_like(vectors)
        known = self.known_items
        sources[known] = vectors[known] / of_item[known, None]
        targets = vectors * (self.settings.ideal_weight * of_item[:, None])
        gram = sparse_gram(
            normal, self.threads, lambda done, note="": progress(0.5 + done / 2, "co-occurrence")
        )
        self._relation = LowRankItemItem(history, gram, sources, targets.astype(np.float32), known)
        return CLOSED_FORM

    def _singular_vectors(self, matrix: sparse.csr_matrix) -> Float32Array:
        """Return the leading right singular vectors of the large parts, ``(n_items, dim)``.

        Of each part by itself: of a mix of two, which are equally great, one part would have a say
        in the other.
        """
        dim, parts = self.settings.embedding_dim, large_parts(matrix, self.settings.embedding_dim)
        found = [self._leading(matrix[users][:, items], dim) for users, items in parts]
        values = np.concatenate([value for value, _ in found])
        vectors = np.zeros((matrix.shape[1], len(values)), dtype=np.float32)
        done = 0
        for (_, items), (_, right) in zip(parts, found, strict=True):
            vectors[items, done : done + right.shape[1]] = right
            done += right.shape[1]
        return np.ascontiguousarray(vectors[:, np.argsort(-values, kind="stable")[:dim]])

    def _leading(
        self, matrix: sparse.csr_matrix, dim: int
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
        """Return the leading singular values of a part and their right vectors, as columns."""
        dim = min(dim, *matrix.shape)
        with blas_threads(self.threads):
            if min(matrix.shape) <= _EXACT:
                return _exact_singular_vectors(matrix, dim)
            from sklearn.utils.extmath import randomized_svd

            _, values, right = randomized_svd(
                matrix, dim, n_oversamples=_OVERSAMPLES, n_iter=_PASSES, random_state=self.seed
            )
        return values, right.T

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        return self._relation.scores(user_idx)

    def relation(self) -> LowRankItemItem:
        """Return the item-item filter."""
        return self._relation

    def _state(self) -> Arrays:
        return self._relation.state()

    def _restore(self, arrays: Arrays) -> None:
        self._relation = LowRankItemItem.of_state(arrays, len(self.known_users), self.known_items)


def require_memory(history: sparse.csr_matrix, available: int) -> None:
    """Refuse data whose co-occurrences may not fit.

    Args:
        history: The positives, CSR ``(n_users, n_items)``.
        available: Bytes.

    Raises:
        ConfigError: They may need more than is available.
    """
    per_user = np.diff(history.indptr).astype(np.float64)
    pairs = min(np.square(per_user).sum(), float(history.shape[1]) ** 2)
    needed = int(pairs * 8 * _PEAK)
    if needed > available:
        raise ConfigError(
            f"model graph_filter: up to {pairs:,.0f} pairs of items that occur together need "
            f"{needed / 2**30:.1f} GiB of memory, and {available / 2**30:.1f} GiB are available. "
            "Choose ials or elsa."
        )


def large_parts(matrix: sparse.csr_matrix, dim: int) -> list[tuple[BoolArray, BoolArray]]:
    """Return the parts of the graph that are worth a dimension.

    Each part that nothing joins to the others has a singular value of 1, the greatest there is,
    however small it is: hundreds of single users with items of their own would take all dimensions.
    A part is worth one by a share of ``1 / dim`` of the positives, or as the largest.

    Args:
        matrix: The positives, CSR ``(n_users, n_items)``, at least one.
        dim: How many singular vectors there will be.

    Returns:
        Of each part its users, bool ``(n_users,)``, and its items, bool ``(n_items,)``.
    """
    n_users, n_items = matrix.shape
    size = n_users + n_items
    indptr = np.append(matrix.indptr, np.full(n_items, matrix.nnz))
    graph = sparse.csr_matrix((matrix.data, matrix.indices + n_users, indptr), shape=(size, size))
    n_parts, part = connected_components(graph, connection="weak")
    of_user, of_item = part[:n_users], part[n_users:]
    positives = np.bincount(of_user, np.diff(matrix.indptr), minlength=n_parts)
    large = np.flatnonzero(positives >= min(positives.max(), matrix.nnz / dim))
    return [(of_user == each, of_item == each) for each in large]


def _exact_singular_vectors(
    matrix: sparse.csr_matrix, dim: int
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]:
    """Return the leading singular values and right vectors by the smaller of the Gram matrices."""
    wide = matrix.shape[0] < matrix.shape[1]
    matrix = matrix.astype(np.float64)
    values, vectors = np.linalg.eigh((matrix @ matrix.T if wide else matrix.T @ matrix).toarray())
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    real = values > 1e-9  # the greatest is 1; the others are rounding
    right = vectors[:, real]
    if wide:
        right = matrix.T @ right / np.sqrt(values[real])
    return np.sqrt(values[real]), right
