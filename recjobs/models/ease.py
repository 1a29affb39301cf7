"""EASE: the linear item-item model in closed form.

Score: x_u B, where B minimizes |X - X B|² + l2 |B|² under diag(B) = 0: with P = (X'X + l2 I)^-1,
B_hi = -P_hi / P_ii. No sampling, one hyperparameter. The Gram matrix is inverted in its own
place, by Cholesky of a block at a time, so that memory peaks at little above items² x 4 bytes.
Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from pydantic import Field
from scipy import sparse

from recjobs.config import Section
from recjobs.dataset import Float32Array, Int32Array, TrainingSet
from recjobs.errors import ConfigError
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
from recjobs.models.free_memory import free_memory
from recjobs.models.gram import each_gram_rows
from recjobs.models.relations import DenseItemItem
from recjobs.progress import Progress, silent
from recjobs.threads import blas_threads

#: Memory at the peak of a fit, as a multiple of the matrix.
_PEAK: Final = 1.5
#: Rows that LAPACK inverts by itself; and of a block of more, for large products and small copies.
_LAPACK: Final = 16_384
_BLOCK: Final = 1024


class EaseSettings(Section):
    """Hyperparameters of `Ease`."""

    l2: float | None = Field(default=None, gt=0)  #: default: by the data's density, see docs


class Ease(BlockModel):
    """Recommends what a linear regression on the user's history predicts."""

    name: ClassVar[str] = "ease"
    Settings: ClassVar[type[Section]] = EaseSettings
    settings: EaseSettings
    _relation: DenseItemItem

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Solve the regression; see `Model.fit`.

        Raises:
            DataError: The set has nothing to learn from.
            ConfigError: The catalogue does not fit into memory.
        """
        train.require_rows()
        history = strengths(train)
        self.known_users, self.known_items = known_of(history)
        item_of = np.flatnonzero(self.known_items).astype(np.int32)
        require_memory(len(item_of), free_memory())
        history = history[:, item_of]
        history.indptr = history.indptr.astype(np.int64)
        gram = np.empty((len(item_of), len(item_of)), dtype=np.float32)

        def take(items: Int32Array, block: Float32Array) -> None:
            gram[items] = block

        each_gram_rows(
            history,
            take,
            self.threads,
            lambda done, note="": progress(done / 2, "item-item co-occurrence"),
        )
        gram.flat[:: len(gram) + 1] += self.settings.l2 or default_l2(history)
        progress(0.5, "inverse")
        with blas_threads(self.threads):
            _invert(gram)
        _to_weights(gram)
        self._relation = DenseItemItem(history, gram, item_of, train.n_items)
        progress(1.0)
        return CLOSED_FORM

    def score_block(self, user_idx: Int32Array) -> Float32Array:
        """Return scores; see `BlockModel.score_block`."""
        return self._relation.scores(user_idx)

    def relation(self) -> DenseItemItem:
        """Return the item-item matrix."""
        return self._relation

    def _state(self) -> Arrays:
        relation = self._relation
        return {**csr_arrays("history", relation.history), "weights": relation.weights}

    def _restore(self, arrays: Arrays) -> None:
        item_of = np.flatnonzero(self.known_items).astype(np.int32)
        history = csr_of("history", arrays, (len(self.known_users), len(item_of)))
        self._relation = DenseItemItem(history, arrays["weights"], item_of, len(self.known_items))


def default_l2(history: sparse.csr_matrix) -> float:
    """Return the l2 that suits the density: proportional to a Gram row's sum, per item.

    The best l2 grows with how often items occur together: about 1,000 on MovieLens-1M and 16 on
    Gowalla, whose mean Gram rows sum to 100,000 and 1,500.
    """
    per_user = history.sum(axis=1, dtype=np.float64)
    row_sum: float = np.square(per_user).sum() / history.shape[1]
    return max(1.0, 0.01 * row_sum)


def require_memory(n_items: int, available: int) -> None:
    """Refuse a catalogue whose matrix does not fit.

    Raises:
        ConfigError: It needs more than the available bytes.
    """
    needed = int(n_items**2 * 4 * _PEAK)
    if needed > available:
        raise ConfigError(
            f"model ease: {n_items:,} items need {needed / 2**30:.1f} GiB of memory (items² x 4 "
            f"bytes x {_PEAK}), and {available / 2**30:.1f} GiB are available. Choose elsa, its "
            "low-rank kin."
        )


def _invert(gram: Float32Array) -> None:
    """Invert a symmetric positive definite matrix by its upper triangle; its sign may be turned.

    In place. A large one by the sweep operator, a block of rows and columns at a time (Beaton, "The
    Use of Special Matrix Operators in Statistical Calculus", 1964): nearly all of it is products of
    matrices, and the factorization of OpenBLAS ends 27,000 rows by a segmentation fault.
    """
    n = len(gram)
    if n <= _LAPACK:
        _invert_by_lapack(gram)
        return
    for start in range(0, n, _BLOCK):
        own = slice(start, min(start + _BLOCK, n))
        pivot = gram[own, own].copy()
        _invert_by_lapack(pivot)
        pivot[:] = np.triu(pivot) + np.triu(pivot, 1).T
        column = np.concatenate([gram[:start, own], np.zeros_like(pivot), gram[own, own.stop :].T])
        swept = column @ pivot
        for first in range(0, n, _BLOCK):
            rows = slice(first, first + _BLOCK)
            gram[rows, first:] -= swept[rows] @ column[first:].T
        gram[:start, own], gram[own, own.stop :] = swept[:start], swept[own.stop :].T
        gram[own, own] = -pivot


def _invert_by_lapack(gram: Float32Array) -> None:
    from scipy.linalg import lapack

    # LAPACK counts by columns: it takes the transposed view as it lies, without a copy.
    factor, failed = lapack.spotrf(gram.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        factor, failed = lapack.spotri(factor, lower=1, overwrite_c=1)
    if failed:
        raise ConfigError("model ease: the Gram matrix is not positive definite; raise params.l2")
    if not np.shares_memory(factor, gram):
        gram[:] = factor.T


def _to_weights(inverse: Float32Array) -> None:
    """Turn P, or -P, by its upper triangle into B = -P / diag(P) with a diagonal of 0."""
    n = len(inverse)
    diagonal = inverse.diagonal().copy()
    step = 512
    for start in range(0, n, step):
        stop = min(start + step, n)
        block = inverse[start:stop, start:stop]
        block[:] = np.triu(block) + np.triu(block, 1).T
        inverse[stop:, start:stop] = inverse[start:stop, stop:].T
    inverse /= -diagonal
    np.fill_diagonal(inverse, 0)
