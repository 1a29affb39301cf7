"""The types of arrays, and look-ups in them that beat numpy's and scipy's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import sparse

BoolArray = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]


def distinct(values: Int64Array) -> Int64Array:
    """Return the distinct values, ascending, int64.

    `numpy.unique` hashes integers, which takes 20 times as long on millions of them.
    """
    ordered = np.sort(values)
    first = np.append(np.ones(min(len(ordered), 1), np.bool_), ordered[1:] != ordered[:-1])
    found: Int64Array = ordered[first]
    return found


def contains(ascending: Int64Array, values: Int64Array) -> BoolArray:
    """Tell which values, int64 of any shape, are among the ascending ones."""
    if not len(ascending):
        return np.zeros(values.shape, dtype=np.bool_)
    at = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    found: BoolArray = ascending[at] == values
    return found


def rows_of(matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer]) -> sparse.csr_matrix:
    """Return some rows of a CSR matrix, int ``(n,)``, as ``matrix[rows]`` does.

    Of a matrix with int64 pointers, scipy copies the indexes of all rows to take a few.
    """
    begin = matrix.indptr[rows]
    size = matrix.indptr[rows + 1] - begin
    indptr = np.concatenate([[0], np.cumsum(size)])
    at = np.repeat(begin - indptr[:-1], size) + np.arange(indptr[-1])
    shape = (len(rows), matrix.shape[1])
    return sparse.csr_matrix((matrix.data[at], matrix.indices[at], indptr), shape=shape)
