"""What a vector is expected to be, by which others its row has ratings with.

That somebody rated an item at all tells of both, whatever the rating: z_u = Σ_j y_j / √|N(u)|, over
the items j that u rated, and the same the other way round. The y_j are a ridge regression of the
present vectors on these sums, by conjugate gradients: |Z - P|² + ridge |Y|². Koren, "Factorization
Meets the Neighborhood", KDD 2008, learns them by descent along with the vectors; that gained
nothing on a validation part of MovieLens-1M, where this did.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from recjobs.dataset import Float32Array, Int32Array

#: Weight of |Y|².
_RIDGE: Final = 3.0
#: Of conjugate gradients, from the solution before.
_STEPS: Final = 2
#: Where there is nothing left to do, lengths are 0.
_TINY: Final = np.float32(1e-30)

#: Y, float32 ``(n_others, dim)``, and Z, float32 ``(n_rows, dim)``.
Fitted = tuple[Float32Array, Float32Array]


class RatedSets:
    """One side's rows, each with the rows of the other side that it has a rating with.

    Args:
        row: Of each rating, int32 ``(n,)``.
        other: Of each rating, int32 ``(n,)``.
        shape: The numbers of rows, here and on the other side.

    Attributes:
        n_rows: Here.
    """

    def __init__(self, row: Int32Array, other: Int32Array, shape: tuple[int, int]) -> None:
        count = np.maximum(np.bincount(row, minlength=shape[0]), 1)
        share = (1 / np.sqrt(count[row])).astype(np.float32)
        self.n_rows = shape[0]
        self._sets = sparse.csr_matrix((share, (row, other)), shape=shape)
        self._of_others = self._sets.T.tocsr()

    def start(self, dim: int) -> Fitted:
        """Return a Y and a Z of zeros."""
        n_rows, n_others = self._sets.shape
        return np.zeros((n_others, dim), np.float32), np.zeros((n_rows, dim), np.float32)

    def fitted(self, vectors: Float32Array, fitted: Fitted) -> Fitted:
        """Return a better Y, nearer to the regression's, and its Z.

        Args:
            vectors: P, float32 ``(n_rows, dim)``.
            fitted: To begin with.
        """
        weights, expected = fitted
        step, length = np.zeros_like(weights), np.ones(weights.shape[1], dtype=np.float32)
        for _ in range(_STEPS):
            left = self._of_others @ (vectors - expected) - _RIDGE * weights
            before, length = length, (left * left).sum(axis=0)
            step = left + length / np.maximum(before, _TINY) * step
            moved = self._sets @ step
            curved = (moved * moved).sum(axis=0) + _RIDGE * (step * step).sum(axis=0)
            far = length / np.maximum(curved, _TINY)
            weights = weights + far * step
            expected = expected + far * moved
        return weights, expected
