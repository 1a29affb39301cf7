"""Exact top-n in blocks of users: seen items out before the cut, ties by item index.

Factors are multiplied panel by panel, and scores are compared with each user's n-th best so far
before they leave the registers, so no row of all scores ever exists. A user's scores are the same
bits whatever the block, the threads or the shard they are computed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, SeenItems
from recjobs.threads import over_rows

#: Users and items of a tile: what is computed of it at a time stays in a core's cache.
TILE_USERS: Final = 512
TILE_ITEMS: Final = 1024

#: Rows of scores that a thread takes at a time.
_SCORED_ROWS: Final = 64


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

    Items are visited by falling length of their vectors, a panel at a time. No score exceeds the
    product of the lengths (Cauchy-Schwarz), so a user's search ends where that falls below the
    n-th best so far: the coordinate-free bound of LEMP (Teflioudi and Gemulla, "Exact and
    Approximate Maximum Inner Product Search with LEMP", TODS 2016), over blocks as in Abuzaid et
    al., "To Index or Not to Index: Optimizing Exact Maximum Inner Product Search", ICDE 2019.

    Args:
        item_vectors: ``(n_items, dim)``.
        candidates: bool, ``(n_items,)``; the others are never returned.

    Attributes:
        computed: Products of panels in the last call of `top_n`: what the bound spared is missing.
    """

    def __init__(self, item_vectors: Float32Array, candidates: BoolArray) -> None:
        from recjobs.panels import COLUMNS, in_pairs, in_panels
        from recjobs.rank_kernels import LENGTH

        chosen = np.flatnonzero(candidates).astype(np.int32)
        # In float64, and of float32 values: beyond what rounding could do to a score below.
        length = np.sqrt(np.square(item_vectors[chosen], dtype=np.float64).sum(axis=1))
        order = np.argsort(-length, kind="stable")
        self._item_of = chosen[order]
        n_panels = -(-len(chosen) // COLUMNS)
        column_of = columns_of(self._item_of, len(candidates))
        self._column_of = np.where(column_of < 0, np.int32(n_panels * COLUMNS), column_of)
        self._items = np.ascontiguousarray(item_vectors[self._item_of], dtype=np.float32)
        # The greatest from here on: NaN sorts last, and then no bound holds before it either.
        longest = np.maximum.accumulate(length[order][::-1])[::-1][::COLUMNS]
        # A score is a sum of dim rounded terms, each of them off by 2^-24 of its value.
        dim = item_vectors.shape[1]
        rounding = (dim + 8) * 2.0**-23
        self._longest = longest * (1 + rounding)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            whole = self._items * (LENGTH / self._longest.max(initial=0))
        self._panels = in_panels(in_pairs(np.rint(whole)), COLUMNS).ravel()
        # Each rounded vector is off by a half in each dimension (Cauchy-Schwarz).
        self._error = math.ceil((LENGTH + dim) * (dim**0.5 + 1) + rounding * LENGTH**2)
        self.computed = 0

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
        from recjobs.rank_kernels import rank_panels

        item_idx, score = empty_lists(len(users), n)
        computed: list[int] = []

        def work(rows: slice) -> None:
            products = rank_panels(
                np.ascontiguousarray(user_vectors[users[rows]], dtype=np.float32),
                self._items, self._panels, self._longest, self._error, self._item_of,
                self._column_of, users[rows], seen.indptr, seen.indices,
                item_idx[rows], score[rows],
            )  # fmt: skip
            computed.append(products)

        over_rows(work, len(users), TILE_USERS)
        self.computed = sum(computed)
        return item_idx, score


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
    from recjobs import topn_kernels

    scores = np.ascontiguousarray(scores)
    item_idx, score = empty_lists(len(users), n)

    def work(rows: slice) -> None:
        topn_kernels.blank_seen(scores[rows], users[rows], seen.indptr, seen.indices)
        topn_kernels.keep_best(scores[rows], candidates, item_idx[rows], score[rows])

    over_rows(work, len(users), _SCORED_ROWS)
    return item_idx, score


def empty_lists(rows: int, n: int) -> tuple[Int32Array, Float32Array]:
    """Return lists without entries: items -1 and scores -inf, ``(rows, n)``."""
    return np.full((rows, n), -1, dtype=np.int32), np.full((rows, n), -np.inf, dtype=np.float32)


def columns_of(item_of: Int32Array, n_items: int) -> Int32Array:
    """Return the column of each item, int32 ``(n_items,)``; -1 for an item without one."""
    column_of = np.full(n_items, -1, dtype=np.int32)
    column_of[item_of] = np.arange(len(item_of), dtype=np.int32)
    return column_of
