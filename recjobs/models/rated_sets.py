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


class RatedSets:
    """One side's rows, each with the rows of the other side that it has a rating with.

    Args:
        row: Of each rating, int32 ``(n,)``.
        other: Of each rating, int32 ``(n,)``.
        shape: The numbers of rows, here and on the other side.
    """

    def __init__(self, row: Int32Array, other: Int32Array, shape: tuple[int, int]) -> None:
        count = np.maximum(np.bincount(row, minlength=shape[0]), 1)
        share = (1 / np.sqrt(count[row])).astype(np.float32)
        self._sets = sparse.csr_matrix((share, (row, other)), shape=shape)
        self._of_others = self._sets.T.tocsr()

    def expected(self, weights: Float32Array) -> Float32Array:
        """Return Z ``(n_rows, dim)`` for Y ``(n_others, dim)``, float32."""
        z: Float32Array = self._sets @ weights
        return z

    def fitted(self, vectors: Float32Array, weights: Float32Array) -> Float32Array:
        """Return a better Y: nearer to the regression's.

        Args:
            vectors: P, float32 ``(n_rows, dim)``.
            weights: Y to begin with, float32 ``(n_others, dim)``.
        """
        left = self._of_others @ (vectors - self._sets @ weights) - _RIDGE * weights
        step, length = left, (left * left).sum(axis=0)
        for _ in range(_STEPS):
            curved = self._of_others @ (self._sets @ step) + _RIDGE * step
            far = length / np.maximum((step * curved).sum(axis=0), np.float32(1e-30))
            weights = weights + far * step
            left = left - far * curved
            before, length = length, (left * left).sum(axis=0)
            step = left + length / np.maximum(before, np.float32(1e-30)) * step
        return weights
