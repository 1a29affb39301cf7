"""The 50 nearest items of each item, and users of each user, by cosine, against faiss's search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.performance.factors import DIM, drawn, learned
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape
from recjobs.dataset import Float32Array
from recjobs.models.relations import ItemVectors

N = 50
_USERS, _ASKED = 20_000, 4096


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time items and users of learned vectors, and items of drawn ones."""
    factors = learned(shape, _USERS)
    found = _rows(factors.items, "similar items, learned by ials", repeats)
    found += _rows(drawn(shape, _USERS).items, "similar items, drawn vectors", repeats)
    return found + _rows(factors.users, "similar users, learned by ials", repeats)


def _rows(vectors: Float32Array, of: str, repeats: int) -> list[Row]:
    known = (vectors != 0).any(axis=1)
    relation = ItemVectors.of(vectors, known)
    asked = np.flatnonzero(known)[:_ASKED].astype(np.int32)
    contenders = {
        of: lambda: relation.similar(asked, known, N),
        "faiss IndexFlatIP": _faiss(relation.unit[known], relation.unit[asked]),
    }
    timings = interleave(contenders, repeats)
    size = f"{len(asked):,} of {int(known.sum()):,}"
    return [timings.row("similar, n = 50", of, "faiss IndexFlatIP", ("≥", 0.9), size)]


def _faiss(vectors: Float32Array, asked: Float32Array) -> Callable[[], object]:
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    # One more, for the nearest of each is itself.
    return lambda: index.search(asked, N + 1)
