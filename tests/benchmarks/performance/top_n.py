"""The exact top-50 of factors of 64 dims against the bare matrix product that a full sort needs.

The product is preallocated, selects nothing and takes its best block; ours leaves out what each
user has seen. On drawn vectors every pair must be computed; on learned ones the bound spares most.
The figure to reach is for catalogues like shape M's: of few items, selecting 50 is most of the
work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from benchmarks.performance.factors import DIM, Factors, drawn, learned
from benchmarks.performance.harness import Row, Target, interleave
from benchmarks.performance.shapes import Shape
from recjobs.dataset import BoolArray, Float32Array, SeenItems
from recjobs.topn import FactorRanker

N = 50
_USERS = 8192
_BLOCKS = (256, 1024, 4096)
_LARGE = 20_000
_STAGE = "top-50 of factors"

Contenders = dict[str, Callable[[], object]]


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time drawn and learned factors, long histories and a part of the items; and the peers."""
    plain = drawn(shape, _USERS)
    found = _against_product(plain, "drawn vectors", repeats)
    found += _against_product(learned(shape, _USERS), "learned by ials", repeats)
    long = Factors(plain.users, plain.items, _every_fourth(plain))
    found += _against_product(long, "drawn, a quarter of all items seen", repeats)
    allowed = np.random.default_rng(1).random(shape.items) < 0.5
    found += _against_product(plain, "drawn, half of the items allowed", repeats, allowed)
    return found + _against_peers(plain, repeats)


def _against_product(
    factors: Factors, of: str, repeats: int, allowed: BoolArray | None = None
) -> list[Row]:
    if allowed is None:
        allowed = np.ones(len(factors.items), dtype=np.bool_)
    items = factors.items[allowed]
    out = np.empty((_BLOCKS[-1], len(items)), dtype=np.float32)
    products: Contenders = {
        f"bare product by {block:,}": functools.partial(_product, factors.users, items, block, out)
        for block in _BLOCKS
    }
    timings = interleave({**products, of: _ours(factors, allowed)}, repeats)
    best = min(products, key=timings.median)
    size = f"{len(factors.users):,} users x {len(items):,} items"
    target: Target | None = ("≥", 0.85) if len(factors.items) >= _LARGE else None
    return [timings.row(_STAGE, of, best, target, size)]


def _against_peers(factors: Factors, repeats: int) -> list[Row]:
    everything = np.ones(len(factors.items), dtype=np.bool_)
    ours = "drawn vectors"
    peers = {
        "implicit topk": _implicit(factors),
        "faiss IndexFlatIP": _faiss(factors),
        "numpy argpartition": functools.partial(_argpartition, factors),
        "tf.math.top_k": _top_k(factors),
    }
    timings = interleave({ours: _ours(factors, everything), **peers}, repeats)
    return [timings.row(_STAGE, ours, peer, None, "the peer excludes nothing") for peer in peers]


def _ours(factors: Factors, allowed: BoolArray) -> Callable[[], object]:
    ranker = FactorRanker(factors.items, allowed)
    everyone = np.arange(len(factors.users), dtype=np.int32)
    return lambda: ranker.top_n(factors.users, everyone, factors.seen, N)


def _every_fourth(factors: Factors) -> SeenItems:
    n_users, n_items = len(factors.users), len(factors.items)
    each = np.arange(0, n_items, 4, dtype=np.int32)
    return SeenItems(np.arange(n_users + 1, dtype=np.int64) * len(each), np.tile(each, n_users))


def _product(users: Float32Array, items: Float32Array, block: int, out: Float32Array) -> None:
    for start in range(0, len(users), block):
        left = users[start : start + block]
        np.matmul(left, items.T, out=out[: len(left)])


def _argpartition(factors: Factors) -> None:
    for start in range(0, len(factors.users), 1024):
        scores = factors.users[start : start + 1024] @ factors.items.T
        best = np.argpartition(scores, scores.shape[1] - N, axis=1)[:, -N:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        np.take_along_axis(best, order, axis=1)


def _implicit(factors: Factors) -> Callable[[], object]:
    from implicit.cpu.topk import topk

    return lambda: topk(factors.items, factors.users, N)


def _faiss(factors: Factors) -> Callable[[], object]:
    import faiss

    index = faiss.IndexFlatIP(DIM)
    index.add(factors.items)
    return lambda: index.search(factors.users, N)


def _top_k(factors: Factors) -> Callable[[], object]:
    from recjobs.models.training import import_keras

    tf, _ = import_keras()
    items = tf.constant(factors.items)

    @tf.function(autograph=False)
    def best(users: object) -> object:
        return tf.math.top_k(tf.matmul(users, items, transpose_b=True), N)

    def run() -> None:
        for start in range(0, len(factors.users), 1024):
            best(factors.users[start : start + 1024])[0].numpy()

    return run
