"""The least squares problems of implicit ALS, row by row, by conjugate gradients in numba.

With the other side's vectors H fixed, a row's vector x minimizes the sum over its positives of
w (1 - h·x)², plus alpha0 |H x|², plus reg |x|². So A x = b, with A = alpha0 H'H + reg I + the sum
of w h h', and b the sum of w h. H comes in the basis of the eigenvectors of H'H, where all but the
last term of A is a diagonal: a step costs dim operations per positive and none that are dim², and
the diagonal of A is a good preconditioner.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recjobs.kernels import compiled_fast

#: Squared error of the scores of a row's positives, summed: below it a row is solved.
_SOLVED = 1e-9


@compiled_fast
def improve_rows(
    first: int,
    last: int,
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    others: npt.NDArray[np.float32],
    shared: npt.NDArray[np.float32],
    ridge: npt.NDArray[np.float32],
    steps: int,
    out: npt.NDArray[np.float32],
) -> float:
    """Improve rows ``first:last``, from where they are, and return the loss that they had.

    Args:
        first: The first row.
        last: The row after the last.
        indptr: Of the positives by row, ``(n_rows + 1,)``.
        indices: The other side's index of each positive.
        weight: Of each positive.
        others: H, ``(n_others, dim)``.
        shared: alpha0 times the eigenvalues of H'H, ``(dim,)``.
        ridge: reg of each row, ``(n_rows,)``; above 0.
        steps: Of conjugate gradients, at most.
        out: The rows' vectors, ``(n_rows, dim)``; changed in place, 0 for one without positives.
    """
    dim = others.shape[1]
    diagonal = np.empty(dim, dtype=np.float32)
    inverse = np.empty(dim, dtype=np.float32)
    residual = np.empty(dim, dtype=np.float32)
    direction = np.empty(dim, dtype=np.float32)
    image = np.empty(dim, dtype=np.float32)
    loss = 0.0
    for row in range(first, last):
        x = out[row]
        begin, end = indptr[row], indptr[row + 1]
        if begin == end:
            x[:] = 0
            continue
        for d in range(dim):
            diagonal[d] = shared[d] + ridge[row]
            inverse[d] = diagonal[d]
            residual[d] = -diagonal[d] * x[d]
            loss += diagonal[d] * x[d] * x[d]
        for p in range(begin, end):
            h = others[indices[p]]
            dot = np.float32(0)
            for d in range(dim):
                dot += h[d] * x[d]
            missing = weight[p] * (np.float32(1) - dot)
            loss += missing * (np.float32(1) - dot)
            for d in range(dim):
                residual[d] += missing * h[d]
                inverse[d] += weight[p] * h[d] * h[d]
        error = np.float32(0)
        for d in range(dim):
            inverse[d] = np.float32(1) / inverse[d]
            direction[d] = inverse[d] * residual[d]
            error += residual[d] * direction[d]
        for _ in range(steps):
            if error < _SOLVED:
                break
            for d in range(dim):
                image[d] = diagonal[d] * direction[d]
            for p in range(begin, end):
                h = others[indices[p]]
                dot = np.float32(0)
                for d in range(dim):
                    dot += h[d] * direction[d]
                dot *= weight[p]
                for d in range(dim):
                    image[d] += dot * h[d]
            curvature = np.float32(0)
            for d in range(dim):
                curvature += direction[d] * image[d]
            length = error / curvature
            before, error = error, np.float32(0)
            for d in range(dim):
                x[d] += length * direction[d]
                residual[d] -= length * image[d]
                error += residual[d] * residual[d] * inverse[d]
            turn = error / before
            for d in range(dim):
                direction[d] = inverse[d] * residual[d] + turn * direction[d]
    return loss
