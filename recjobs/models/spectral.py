"""A start for embeddings: the leading singular vectors of who chose what.

Where people and items are many and interactions few, random vectors take hundreds of passes to
find what belongs together; the singular vectors of the matrix that is normalised by both sides'
degrees know it after a few products. Shen et al., "How Powerful is Graph Convolution for
Recommendation?", CIKM 2021; Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM
Review 2011.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import sparse

from recjobs.dataset import Float32Array
from recjobs.threads import blas_threads

#: The mean score of the positives at the start: near where a softmax's loss is least, measured.
_MEAN_SCORE: Final = 3.0
_PASSES: Final = 4


def spectral_start(
    matrix: sparse.csr_matrix, dim: int, *, seed: int, threads: int
) -> tuple[Float32Array, Float32Array]:
    """Return vectors of users ``(n_users, dim)`` and items ``(n_items, dim)``, float32.

    Those of the users and items without an entry are 0, and so are columns beyond the matrix's
    rank.

    Args:
        matrix: The positives, CSR ``(n_users, n_items)``, at least one.
        dim: Columns of the vectors.
        seed: Of the random projection.
        threads: For BLAS.
    """
    from sklearn.utils.extmath import randomized_svd

    chose = matrix.astype(np.bool_).astype(np.float32)
    of_user = np.sqrt(np.maximum(np.diff(chose.indptr), 1)).astype(np.float32)
    of_item = np.sqrt(np.maximum(chose.sum(axis=0).A1, 1)).astype(np.float32)
    normal = sparse.diags_array(1 / of_user) @ chose @ sparse.diags_array(1 / of_item)
    rank = min(dim, *matrix.shape)
    with blas_threads(threads):
        left, values, right = randomized_svd(
            normal.tocsr(), rank, n_iter=_PASSES, random_state=seed
        )
    users = np.zeros((matrix.shape[0], dim), dtype=np.float32)
    items = np.zeros((matrix.shape[1], dim), dtype=np.float32)
    users[:, :rank] = left * np.sqrt(values) / of_user[:, None]
    items[:, :rank] = right.T * np.sqrt(values)

    # Of the positives: the sum over a user's items is the user times the sum of the items.
    mean = (users * (chose @ items)).sum(dtype=np.float64) / chose.nnz
    scale = np.float32(np.sqrt(_MEAN_SCORE / mean))
    # Both sides of one length, for the l2 weighs them alike.
    ratio = np.sqrt(np.sqrt(np.square(items).mean() / np.square(users).mean()))
    return users * scale * ratio, items * scale / ratio
