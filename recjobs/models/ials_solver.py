"""The least squares problems of implicit ALS, row by row, by conjugate gradients in numba.

With the other side's vectors H fixed, a row's vector x minimizes the sum over its positives of
w (1 - h·x)², plus alpha0 |H x|², plus reg |x|². So A x = b, with A = alpha0 H'H + reg I + the sum
of w h h', and b the sum of w h. H comes in the basis of the eigenvectors of H'H, where all but the
last term of A is a diagonal: a step costs dim operations per positive and none that are dim², and
that diagonal is a good preconditioner.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from recjobs import memory
from recjobs.kernels import compiled_fast, inlined_fast

#: Squared error of the scores of a row's positives, summed: below it a row is solved. Of one whose
#: weights sum to less than 1, what all is squared of, so much less.
_SOLVED: Final = 1e-9
_ZERO, _ONE = np.float32(0), np.float32(1)
#: Positives at work at a time, and bytes of a line of the cache.
_BLOCK: Final = 8
_LINE: Final = 64
#: Bytes of vectors that stay near by from one pass over a row's positives to the next.
_NEAR: Final = 1 << 19
#: Rows with more take their steps together: so many at most, so many bytes of vectors at a time.
_GROUP: Final = 256
_SHARED: Final = 1 << 22


@inlined_fast
def _pull(
    begin: int,
    end: int,
    indices: npt.NDArray[np.int32],
    weight: npt.NDArray[np.float32],
    others: npt.NDArray[np.float32],
    wanted: np.float32,
    fetch: bool,
    x: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
) -> float:
    """Add the sum of w e h to ``out``, with e = wanted - h·x, and return the sum of w e².

    Eight h at a time, fetched while the eight before are at work: ``x`` and ``out`` pass through
    the registers an eighth as often.
    """
    dim = len(x)
    first, size = others.ctypes.data, dim * others.itemsize
    loss = _ZERO
    p = begin
    while p + _BLOCK <= end:
        if fetch and p + 2 * _BLOCK <= end:
            for following in range(p + _BLOCK, p + 2 * _BLOCK):
                vector = first + indices[following] * size
                for byte in range(0, size, _LINE):
                    memory.prefetch(vector + byte)
        h0, h1 = others[indices[p]], others[indices[p + 1]]
        h2, h3 = others[indices[p + 2]], others[indices[p + 3]]
        h4, h5 = others[indices[p + 4]], others[indices[p + 5]]
        h6, h7 = others[indices[p + 6]], others[indices[p + 7]]
        e0 = e1 = e2 = e3 = e4 = e5 = e6 = e7 = wanted
        for d in range(dim):
            e0 -= h0[d] * x[d]
            e1 -= h1[d] * x[d]
            e2 -= h2[d] * x[d]
            e3 -= h3[d] * x[d]
            e4 -= h4[d] * x[d]
            e5 -= h5[d] * x[d]
            e6 -= h6[d] * x[d]
            e7 -= h7[d] * x[d]
        w0, w1, w2, w3 = weight[p], weight[p + 1], weight[p + 2], weight[p + 3]
        w4, w5, w6, w7 = weight[p + 4], weight[p + 5], weight[p + 6], weight[p + 7]
        loss += w0 * e0 * e0 + w1 * e1 * e1 + w2 * e2 * e2 + w3 * e3 * e3
        loss += w4 * e4 * e4 + w5 * e5 * e5 + w6 * e6 * e6 + w7 * e7 * e7
        e0, e1, e2, e3 = w0 * e0, w1 * e1, w2 * e2, w3 * e3
        e4, e5, e6, e7 = w4 * e4, w5 * e5, w6 * e6, w7 * e7
        for d in range(dim):
            near = e0 * h0[d] + e1 * h1[d] + e2 * h2[d] + e3 * h3[d]
            out[d] += near + e4 * h4[d] + e5 * h5[d] + e6 * h6[d] + e7 * h7[d]
        p += _BLOCK
    while p < end:
        h0, e0 = others[indices[p]], wanted
        for d in range(dim):
            e0 -= h0[d] * x[d]
        loss += weight[p] * e0 * e0
        e0 *= weight[p]
        for d in range(dim):
            out[d] += e0 * h0[d]
        p += 1
    return float(loss)


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

    Neighbouring rows of many positives take their steps together, a part of H at a time, which is
    then near by for all of them. What comes of a row does not depend on the others.

    Args:
        first: The first row.
        last: The row after the last.
        indptr: Of the positives by row, ``(n_rows + 1,)``.
        indices: The other side's index of each positive, ascending within a row.
        weight: Of each positive.
        others: H, ``(n_others, dim)``.
        shared: alpha0 times the eigenvalues of H'H, ``(dim,)``.
        ridge: reg of each row, ``(n_rows,)``; above 0.
        steps: Of conjugate gradients, at most.
        out: The rows' vectors, ``(n_rows, dim)``; changed in place, 0 for one without positives.
    """
    n_others, dim = others.shape
    size = dim * others.itemsize
    few = _NEAR // size
    state = np.empty((5, _GROUP, dim), dtype=np.float32)
    loss = 0.0
    row = first
    while row < last:
        begin, part = row, n_others
        row += 1
        if indptr[row] - indptr[begin] > few:
            part = max(_SHARED // size, 1)
            while row < min(last, begin + _GROUP) and indptr[row + 1] - indptr[row] > few:
                row += 1
        loss += _improve_together(
            begin, row, indptr, indices, weight, others, shared, ridge, steps, out, part, state
        )
    return loss


@inlined_fast
def _improve_together(
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
    part: int,
    state: npt.NDArray[np.float32],
) -> float:
    """As `improve_rows`, ``part`` of the others at a time; ``state`` is for five vectors a row."""
    n_others, dim = others.shape
    n, n_parts = last - first, (n_others + part - 1) // part
    diagonal, inverse, residual, direction = state[0], state[1], state[2], state[3]
    image = state[4]  # of the direction, under -A
    error, solved = np.zeros(n, dtype=np.float32), np.empty(n, dtype=np.float32)
    cuts = np.empty((n, n_parts + 1), dtype=np.int64)
    loss = 0.0
    for r in range(n):
        x = out[first + r]
        begin, end = indptr[first + r], indptr[first + r + 1]
        cuts[r, 0], cuts[r, n_parts] = begin, end
        for c in range(1, n_parts):
            cuts[r, c] = begin + np.searchsorted(indices[begin:end], c * part)
        if begin == end:
            x[:] = 0
        total, p = _ZERO, begin
        while p < end and total < _ONE:
            total += weight[p]
            p += 1
        solved[r] = _SOLVED * min(total, _ONE) ** 2
        for d in range(dim):
            diagonal[r, d] = shared[d] + ridge[first + r]
            inverse[r, d] = _ONE / diagonal[r, d]
            residual[r, d] = -diagonal[r, d] * x[d]
            loss += diagonal[r, d] * x[d] * x[d]
    for c in range(n_parts):
        for r in range(n):
            begin, end = cuts[r, c], cuts[r, c + 1]
            x = out[first + r]
            loss += _pull(begin, end, indices, weight, others, _ONE, True, x, residual[r])
    for r in range(n):
        for d in range(dim):
            direction[r, d] = inverse[r, d] * residual[r, d]
            error[r] += residual[r, d] * direction[r, d]
    far = n_parts > 1
    for _ in range(steps):
        if (error <= solved).all():
            break
        for r in range(n):
            for d in range(dim):
                image[r, d] = -diagonal[r, d] * direction[r, d]
        for c in range(n_parts):
            for r in range(n):
                if error[r] > solved[r]:
                    begin, end = cuts[r, c], cuts[r, c + 1]
                    _pull(begin, end, indices, weight, others, _ZERO, far, direction[r], image[r])
        for r in range(n):
            if error[r] > solved[r]:
                x = out[first + r]
                error[r] = _step(error[r], inverse[r], image[r], x, residual[r], direction[r])
    return loss


@inlined_fast
def _step(
    error: float,
    inverse: npt.NDArray[np.float32],
    image: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    residual: npt.NDArray[np.float32],
    direction: npt.NDArray[np.float32],
) -> float:
    """Go as far as is best, turn, and return the error that is left; all are changed in place."""
    dim = len(x)
    curvature, left = _ZERO, _ZERO
    for d in range(dim):
        curvature -= direction[d] * image[d]
    length = error / curvature
    for d in range(dim):
        x[d] += length * direction[d]
        residual[d] += length * image[d]
        left += residual[d] * residual[d] * inverse[d]
    turn = left / error
    for d in range(dim):
        direction[d] = inverse[d] * residual[d] + turn * direction[d]
    return float(left)
