"""The item-item Gram matrix X'X of the users' positives, by ranges of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import sparse

from recjobs.dataset import Float32Array, Int32Array, Int64Array
from recjobs.progress import Progress, silent
from recjobs.threads import over_rows
from recjobs.topn import empty_lists

#: Rows handed to a thread at a time.
_ROWS: Final = 64
#: Lengths may be 0 where products are not: next to zero, float32 squares are.
_TINY: Final = np.float32(1e-12)


def each_gram_rows(
    matrix: sparse.csr_matrix,
    take: Callable[[slice, Float32Array], None],
    threads: int,
    progress: Progress = silent,
) -> None:
    """Call ``take(rows, X'X[rows])`` for all rows, from threads, in no particular order.

    Args:
        matrix: X, float32 CSR ``(n_users, n_items)``.
        take: Given a slice of rows and their values ``(n_rows, n_items)``, a buffer of its own.
        threads: How many.
        progress: Told the share of rows done.
    """
    from recjobs.models import gram_kernels

    n_items = matrix.shape[1]
    by_item = matrix.tocsc()
    item_indptr = by_item.indptr.astype(np.int64)

    def work(rows: slice) -> None:
        block = np.empty((rows.stop - rows.start, n_items), dtype=np.float32)
        gram_kernels.gram_rows(
            rows.start, rows.stop, item_indptr, by_item.indices, by_item.data,
            matrix.indptr, matrix.indices, matrix.data, block,
        )  # fmt: skip
        take(rows, block)

    over_rows(work, n_items, _ROWS, threads=threads, progress=progress)


def nearest(
    matrix: sparse.csr_matrix,
    length: Float32Array,
    n: int,
    shrinkage: float,
    threads: int,
    progress: Progress,
) -> tuple[Int32Array, Float32Array]:
    """Return each column's n others of the greatest cosine above 0, with shrinkage.

    Args:
        matrix: X, float32 CSR ``(n_rows, n_columns)``.
        length: Of each column, float32 ``(n_columns,)``.
        n: How many.
        shrinkage: Added to the cosine's denominator.
        threads: How many.
        progress: Told the share of columns done.

    Returns:
        int32 ``(n_columns, n)``, -1 padded, and float32, -inf padded.
    """
    from recjobs import topn_kernels
    from recjobs.models import gram_kernels

    n_columns = matrix.shape[1]
    allowed = np.ones(n_columns, dtype=np.bool_)
    near, cosine = empty_lists(n_columns, min(n, n_columns))

    def take(rows: slice, gram: Float32Array) -> None:
        gram_kernels.to_cosines(rows.start, gram, length, np.float32(shrinkage) + _TINY)
        topn_kernels.keep_best(gram, allowed, near[rows], cosine[rows])

    each_gram_rows(matrix, take, threads, progress)
    return near, cosine


def sparse_gram(
    matrix: sparse.csr_matrix, threads: int, progress: Progress = silent
) -> sparse.csr_matrix:
    """Return X'X, float32 CSR ``(n_items, n_items)``, without its zeros.

    Args:
        matrix: X, float32 CSR ``(n_users, n_items)``.
        threads: How many.
        progress: Told the share of rows done.
    """
    n_items = matrix.shape[1]
    found: dict[int, tuple[Int64Array, Int32Array, Float32Array]] = {}

    def take(rows: slice, block: Float32Array) -> None:
        row, column = np.nonzero(block)
        counts = np.bincount(row, minlength=len(block))
        found[rows.start] = counts, column.astype(np.int32), block[row, column]

    each_gram_rows(matrix, take, threads, progress)
    parts = [found.pop(start) for start in sorted(found)]
    gram = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    gram.indptr = np.concatenate([[0], np.cumsum(np.concatenate([p[0] for p in parts]))])
    gram.indices = np.concatenate([p[1] for p in parts])
    gram.data = np.concatenate([p[2] for p in parts])
    return gram
