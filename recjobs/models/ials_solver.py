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

from recjobs import memory
from recjobs.kernels import compiled_fast

#: Squared error of the scores of a row's positives, summed: below it a row is solved.
_SOLVED = 1e-9
_ONE = np.float32(1)
#: Positives between the one at work and the one that is fetched; bytes of a line of the cache.
_AHEAD, _LINE = 8, 64


@compiled_fast
def _pull(
    begin: int,
    end: int,
    indices: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    others: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> None:
    """Add the sum of w (h·x) h to ``out``.

    Four h at a time: ``x`` and ``out`` pass through the registers a quarter as often.
    """
    dim = len(x)
    first, size = others.ctypes.data, dim * others.itemsize
    p = begin
    while p + 4 <= end:
        if p + _AHEAD + 4 <= end:
            _fetch(p + _AHEAD, indices, first, size)
        h0, h1 = others[indices[p]], others[indices[p + 1]]
        h2, h3 = others[indices[p + 2]], others[indices[p + 3]]
        e0 = e1 = e2 = e3 = np.float32(0)
        for d in range(dim):
            e0 += h0[d] * x[d]
            e1 += h1[d] * x[d]
            e2 += h2[d] * x[d]
            e3 += h3[d] * x[d]
        e0, e1 = weight[p] * e0, weight[p + 1] * e1
        e2, e3 = weight[p + 2] * e2, weight[p + 3] * e3
        for d in range(dim):
            out[d] += e0 * h0[d] + e1 * h1[d] + e2 * h2[d] + e3 * h3[d]
        p += 4
    while p < end:
        h0 = others[indices[p]]
        e0 = np.float32(0)
        for d in range(dim):
            e0 += h0[d] * x[d]
        e0 *= weight[p]
        for d in range(dim):
            out[d] += e0 * h0[d]
        p += 1


@compiled_fast
def _begin(
    begin: int,
    end: int,
    indices: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    others: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    residual: npt.NDArray[np.float32],
    squares: npt.NDArray[np.float32],
) -> float:
    """Add the sum of w e h to ``residual``, with e = 1 - h·x, and that of w h² to ``squares``.

    In one pass, for the vectors h may come from far. Returns the sum of w e².
    """
    dim = len(x)
    first, size = others.ctypes.data, dim * others.itemsize
    loss = 0.0
    p = begin
    while p + 4 <= end:
        if p + _AHEAD + 4 <= end:
            _fetch(p + _AHEAD, indices, first, size)
        h0, h1 = others[indices[p]], others[indices[p + 1]]
        h2, h3 = others[indices[p + 2]], others[indices[p + 3]]
        w0, w1, w2, w3 = weight[p], weight[p + 1], weight[p + 2], weight[p + 3]
        e0 = e1 = e2 = e3 = np.float32(0)
        for d in range(dim):
            e0 += h0[d] * x[d]
            e1 += h1[d] * x[d]
            e2 += h2[d] * x[d]
            e3 += h3[d] * x[d]
        e0, e1, e2, e3 = _ONE - e0, _ONE - e1, _ONE - e2, _ONE - e3
        loss += w0 * e0 * e0 + w1 * e1 * e1 + w2 * e2 * e2 + w3 * e3 * e3
        e0, e1, e2, e3 = w0 * e0, w1 * e1, w2 * e2, w3 * e3
        for d in range(dim):
            residual[d] += e0 * h0[d] + e1 * h1[d] + e2 * h2[d] + e3 * h3[d]
            squares[d] += (
                w0 * h0[d] * h0[d] + w1 * h1[d] * h1[d] + w2 * h2[d] * h2[d] + w3 * h3[d] * h3[d]
            )
        p += 4
    while p < end:
        h0, w0, e0 = others[indices[p]], weight[p], np.float32(0)
        for d in range(dim):
            e0 += h0[d] * x[d]
        e0 = _ONE - e0
        loss += w0 * e0 * e0
        for d in range(dim):
            residual[d] += w0 * e0 * h0[d]
            squares[d] += w0 * h0[d] * h0[d]
        p += 1
    return loss


@compiled_fast
def _fetch(begin: int, indices: npt.NDArray[np.int32], first: int, size: int) -> None:
    """Have the vectors of four positives near by: ``size`` bytes each, from the address first."""
    for p in range(begin, begin + 4):
        vector = first + indices[p] * size
        for byte in range(0, size, _LINE):
            memory.prefetch(vector + byte)


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
        loss += _begin(begin, end, indices, weight, others, x, residual, inverse)
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
            _pull(begin, end, indices, weight, others, direction, image)
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
