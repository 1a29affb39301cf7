"""The item-item Gram matrix X'X of the users' positives, by ranges of rows.

A row is the sum of the histories of the item's users, an addition for each of their items: for
popular items, of users who like much, these are billions. Where all entries are 1, their rows are
counted instead, `bit_counts.COLUMNS` at a time: those columns of X are bits of a line of the cache
for each user, and the lines of an item's users, summed up place by place, are its entries in all
those rows, for X'X is symmetric.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from scipy import sparse

from recjobs.dataset import Float32Array, Int32Array, Int64Array
from recjobs.progress import Progress, silent, within
from recjobs.threads import over_rows
from recjobs.topn import empty_lists

#: Rows that a thread sums up at a time, and the most values of rows that it counts at a time.
_ROWS: Final = 64
_COUNTED: Final = 1 << 26
#: What it takes to add a line of bits, and to make a value of their sum, in additions to a row.
_LINE: Final = 2
_VALUE: Final = 2
#: Lengths may be 0 where products are not: next to zero, float32 squares are.
_TINY: Final = np.float32(1e-30)

Take = Callable[[Int32Array, Float32Array], None]


def each_gram_rows(
    matrix: sparse.csr_matrix, take: Take, threads: int, progress: Progress = silent
) -> None:
    """Call ``take(items, X'X[items])`` until it had all rows, from threads, in no particular order.

    Args:
        matrix: X, float32 CSR ``(n_users, n_items)``.
        take: Given int32 ``(n_rows,)`` and their values ``(n_rows, n_items)``, a buffer of its own.
        threads: How many.
        progress: Told the share of rows done.
    """
    panels, others = counted_and_summed(matrix)
    share = 1 - len(others) / max(matrix.shape[1], 1)
    if panels:
        # The lines of users who like much are added most: together, they stay near by.
        matrix = matrix[np.argsort(-np.diff(matrix.indptr), kind="stable")]
    by_item = matrix.tocsc()
    _count(by_item, panels, take, threads, within(progress, 0.0, share))
    _sum(matrix, by_item, others, take, threads, within(progress, share, 1.0))


def counted_and_summed(matrix: sparse.csr_matrix) -> tuple[list[Int32Array], Int32Array]:
    """Return which items' rows of X'X are counted, in panels, and which are cheaper to sum up.

    Args:
        matrix: X, CSR ``(n_users, n_items)``.
    """
    from recjobs.models import gram_kernels
    from recjobs.models.bit_counts import COLUMNS

    n_items = matrix.shape[1]
    if not n_items or (matrix.data != 1).any():
        return [], np.arange(n_items, dtype=np.int32)
    additions = np.zeros(n_items, dtype=np.int64)
    gram_kernels.additions(matrix.indptr.astype(np.int64), matrix.indices, additions)
    order = np.argsort(-additions, kind="stable").astype(np.int32)
    width = min(COLUMNS, max(_COUNTED // n_items, 1))
    spared = np.add.reduceat(additions[order], np.arange(0, n_items, width))
    n_panels = int((spared > _LINE * matrix.nnz + _VALUE * width * n_items).sum())
    panels = [order[width * panel : width * (panel + 1)] for panel in range(n_panels)]
    return panels, np.sort(order[width * n_panels :])


def _count(
    by_item: sparse.csc_matrix,
    panels: list[Int32Array],
    take: Take,
    threads: int,
    progress: Progress,
) -> None:
    from recjobs.models import gram_kernels
    from recjobs.models.bit_counts import WORDS

    n_users, n_items = by_item.shape
    indptr = by_item.indptr.astype(np.int64)

    def work(one: slice) -> None:
        (items,) = panels[one]
        bits = np.empty((n_users + 1) * WORDS, dtype=np.uint32)
        gram_kernels.set_bits(items, indptr, by_item.indices, bits)
        block = np.empty((len(items), n_items), dtype=np.float32)
        gram_kernels.count_rows(indptr, by_item.indices, bits, block)
        take(items, block)

    over_rows(work, len(panels), 1, threads=threads, progress=progress)


def _sum(
    matrix: sparse.csr_matrix,
    by_item: sparse.csc_matrix,
    items: Int32Array,
    take: Take,
    threads: int,
    progress: Progress,
) -> None:
    from recjobs.models import gram_kernels

    item_indptr, user_indptr = by_item.indptr.astype(np.int64), matrix.indptr.astype(np.int64)

    def work(rows: slice) -> None:
        block = np.empty((rows.stop - rows.start, matrix.shape[1]), dtype=np.float32)
        gram_kernels.gram_rows(
            items[rows], item_indptr, by_item.indices, by_item.data,
            user_indptr, matrix.indices, matrix.data, block,
        )  # fmt: skip
        take(items[rows], block)

    over_rows(work, len(items), _ROWS, threads=threads, progress=progress)


def nearest(
    matrix: sparse.csr_matrix,
    n: int,
    shrinkage: float,
    threads: int,
    progress: Progress,
) -> tuple[Int32Array, Float32Array]:
    """Return each column's n others of the greatest cosine above 0, with shrinkage.

    Args:
        matrix: X, float32 CSR ``(n_rows, n_columns)``.
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
    length = lengths(matrix.indices, matrix.data, n_columns)
    allowed = np.ones(n_columns, dtype=np.bool_)
    near, cosine = empty_lists(n_columns, min(n, n_columns))

    def take(columns: Int32Array, gram: Float32Array) -> None:
        gram_kernels.to_cosines(columns, gram, length, np.float32(shrinkage) + _TINY)
        best = empty_lists(len(columns), near.shape[1])
        topn_kernels.keep_best(gram, allowed, *best)
        near[columns], cosine[columns] = best

    each_gram_rows(matrix, take, threads, progress)
    return near, cosine


def lengths(whose: Int32Array, weight: Float32Array, n: int) -> Float32Array:
    """Return the lengths of n vectors, float32 ``(n,)``.

    Args:
        whose: Which vector each weight is of, int32 ``(n_weights,)``.
        weight: float32 ``(n_weights,)``.
        n: How many vectors there are.
    """
    from recjobs.models import gram_kernels

    squares = np.zeros(n)
    gram_kernels.squares(whose, weight, squares)
    found: Float32Array = np.sqrt(squares).astype(np.float32)
    return found


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

    def take(items: Int32Array, block: Float32Array) -> None:
        row, column = np.nonzero(block)
        counts = np.bincount(row, minlength=len(block))
        found[items[0]] = counts, column.astype(np.int32), block[row, column]

    _sum(matrix, matrix.tocsc(), np.arange(n_items, dtype=np.int32), take, threads, progress)
    parts = [found.pop(start) for start in sorted(found)]
    gram = sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    gram.indptr = np.concatenate([[0], np.cumsum(np.concatenate([p[0] for p in parts]))])
    gram.indices = np.concatenate([p[1] for p in parts])
    gram.data = np.concatenate([p[2] for p in parts])
    return gram
