"""Exact top-n in blocks of users: seen items out before the cut, ties by item index.

Factors are multiplied tile by tile and each tile is merged into the users' best so far while it is
in cache, so no row of all scores ever exists. Tiles have one fixed shape, the last ones padded, and
BLAS runs on one thread under each of ours: a user's scores are the same bits whatever the block,
the threads or the shard they are computed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import threadpoolctl

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.progress import Progress, silent

#: Users and items of a tile: 2 MB of scores and the two inputs stay in a core's cache.
TILE_USERS: Final = 512
TILE_ITEMS: Final = 1024


@dataclass(frozen=True, slots=True)
class TopN:
    """The lists of one block of users.

    Attributes:
        user_idx: int32, ``(b,)``.
        item_idx: int32, ``(b, n)``, best first; -1 after the end of a shorter list.
        score: float32, ``(b, n)``; -inf after the end of a shorter list.
        n_model: int32, ``(b,)``; so many first entries are the model's, the rest the fallback's.
    """

    user_idx: Int32Array
    item_idx: Int32Array
    score: Float32Array
    n_model: Int32Array


class FactorRanker:
    """Ranks the candidates by the dot product with a user's vector.

    Args:
        item_vectors: ``(n_items, dim)``.
        candidates: bool, ``(n_items,)``; the others are never returned.
    """

    def __init__(self, item_vectors: Float32Array, candidates: BoolArray) -> None:
        self._item_of = np.flatnonzero(candidates).astype(np.int32)
        self._column_of = columns_of(self._item_of, len(candidates))
        n_tiles = -(-len(self._item_of) // TILE_ITEMS)
        padded = np.zeros((n_tiles * TILE_ITEMS, item_vectors.shape[1]), dtype=np.float32)
        padded[: len(self._item_of)] = item_vectors[self._item_of]
        self._tiles = padded.reshape(n_tiles, TILE_ITEMS, item_vectors.shape[1])

    def top_n(
        self, user_vectors: Float32Array, users: Int32Array, seen: SeenItems, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each user's n best unseen candidates.

        Args:
            user_vectors: ``(n_users, dim)``, of all users.
            users: int32, ``(b,)``; whose lists to make.
            seen: What is left out.
            n: Length of a list.

        Returns:
            Item indexes int32 ``(b, n)``, -1 padded, and scores float32 ``(b, n)``, -inf padded.
        """
        item_idx, score = empty_lists(len(users), n)

        def work(rows: slice) -> None:
            self._rank(user_vectors, users[rows], seen, item_idx[rows], score[rows])

        over_rows(work, len(users), TILE_USERS)
        return item_idx, score

    def _rank(
        self,
        user_vectors: Float32Array,
        users: Int32Array,
        seen: SeenItems,
        best_item: Int32Array,
        best_score: Float32Array,
    ) -> None:
        from recjobs import kernels

        left = np.zeros((TILE_USERS, user_vectors.shape[1]), dtype=np.float32)
        left[: len(users)] = user_vectors[users]
        scores = np.empty((TILE_USERS, TILE_ITEMS), dtype=np.float32)
        cursor = seen.indptr[users]
        for position, tile in enumerate(self._tiles):
            first = position * TILE_ITEMS
            width = min(TILE_ITEMS, len(self._item_of) - first)
            np.matmul(left, tile.T, out=scores)
            real = scores[: len(users), :width]
            kernels.blank_seen(
                real, first, self._column_of, users, seen.indptr, seen.indices, cursor
            )
            kernels.keep_best(real, first, self._item_of, best_item, best_score)


def top_n_of_scores(
    scores: Float32Array, users: Int32Array, seen: SeenItems, candidates: BoolArray, n: int
) -> tuple[Int32Array, Float32Array]:
    """Return the n best unseen candidates of each row of scores.

    Args:
        scores: ``(b, n_items)``; overwritten. -inf or NaN: never returned.
        users: The user of each row, int32 ``(b,)``.
        seen: What is left out.
        candidates: bool, ``(n_items,)``; the others are never returned.
        n: Length of a list.

    Returns:
        Item indexes int32 ``(b, n)``, -1 padded, and scores float32 ``(b, n)``, -inf padded.
    """
    from recjobs import kernels

    n_items = len(candidates)
    item_of = np.where(candidates, np.arange(n_items), -1).astype(np.int32)
    column_of = np.arange(n_items, dtype=np.int32)
    item_idx, score = empty_lists(len(users), n)

    def work(rows: slice) -> None:
        chosen = users[rows]
        cursor = seen.indptr[chosen]
        kernels.blank_seen(scores[rows], 0, column_of, chosen, seen.indptr, seen.indices, cursor)
        kernels.keep_best(scores[rows], 0, item_of, item_idx[rows], score[rows])

    over_rows(work, len(users), TILE_USERS)
    return item_idx, score


def empty_lists(rows: int, n: int) -> tuple[Int32Array, Float32Array]:
    """Return lists without entries: items -1 and scores -inf, ``(rows, n)``."""
    return np.full((rows, n), -1, dtype=np.int32), np.full((rows, n), -np.inf, dtype=np.float32)


def columns_of(item_of: Int32Array, n_items: int) -> Int32Array:
    """Return the column of each item, int32 ``(n_items,)``; -1 for an item without one."""
    column_of = np.full(n_items, -1, dtype=np.int32)
    column_of[item_of] = np.arange(len(item_of), dtype=np.int32)
    return column_of


def over_rows(
    work: Callable[[slice], None],
    n_rows: int,
    step: int,
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Call ``work`` on slices of ``step`` rows, in threads, each with BLAS on one thread.

    Args:
        work: What to do; it must not care which slices come first.
        n_rows: How many rows there are.
        step: Rows of a slice.
        threads: How many; default: as many as there are processors.
        progress: Told the share of rows done, from the calling thread.
    """
    slices = [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    with single_threaded_blas(), ThreadPoolExecutor(threads or cores()) as pool:
        for rows, _ in zip(slices, pool.map(work, slices), strict=True):
            progress(rows.stop / n_rows)


def cores() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep BLAS to the calling thread: our own threads share the work out."""
    with _thread_pools().limit(limits=1, user_api="blas"):
        yield


@cache
def _thread_pools() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()
