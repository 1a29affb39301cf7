"""Baselines for items that nobody has chosen yet: a random order, and genres that are popular."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs import metrics
from recjobs.metrics import Bootstrap

NAMES = ("random order", "popular genres")


def run(name: str, folder: Path, per_user: Path) -> dict[str, Any]:
    """Rank the unseen items of a split, and return what `recjobs bench quality` would.

    Args:
        name: One of `NAMES`.
        folder: Of the split.
        per_user: Where each user's values go.
    """
    started = time.perf_counter()
    train, test, items = (
        pq.read_table(folder / f"{part}.parquet") for part in ("train", "test", "items")
    )
    trained = train["item_id"].to_numpy()
    unseen = np.setdiff1d(items["item_id"].to_numpy(), trained)
    user, item = test["user_id"].to_numpy(), test["item_id"].to_numpy()
    pairs = np.unique(np.column_stack([user, np.searchsorted(unseen, item)])[np.isin(item, unseen)],
                      axis=0)  # fmt: skip
    users, count = np.unique(pairs[:, 0], return_counts=True)
    rng = np.random.default_rng(1)
    if name == "random order":
        lists = np.array([rng.permutation(len(unseen))[:20] for _ in users], dtype=np.int32)
    else:
        score = _genre_score(items, trained, unseen)
        best = np.lexsort((rng.random(len(unseen)), -score))[:20]
        lists = np.tile(best.astype(np.int32), (len(users), 1))
    indptr = np.concatenate([[0], np.cumsum(count)])
    hit = metrics.hits(lists, indptr, pairs[:, 1].astype(np.int32))
    values = {"ndcg@10": metrics.ndcg(hit, count, 10), "recall@20": metrics.recall(hit, count, 20)}
    pq.write_table(pa.table({"user_id": users, **values}), per_user)
    found = metrics.mean_interval(np.column_stack(list(values.values())), Bootstrap())
    named = dict(zip(values, found, strict=True))
    return {
        "model": name,
        "settings": {},
        "seed": 1,
        "threads": 1,
        "metrics": {key: each.value for key, each in named.items()},
        "intervals": {key: [each.low, each.high] for key, each in named.items()},
        "counts": {"users": len(users), "candidates": len(unseen)},
        "fit_seconds": 0.0,
        "score_seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": None,
    }


def _genre_score(items: pa.Table, trained: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    """Return how often, on average, an item of each unseen item's genres was chosen."""
    ids = items["item_id"].to_numpy()
    genres = [set(each or ()) for each in items["genres"].to_pylist()]
    chosen = dict(zip(*np.unique(trained, return_counts=True), strict=True))
    total: dict[str, list[int]] = {}
    for each, names in zip(ids, genres, strict=True):
        if each in chosen:
            for genre in names:
                total.setdefault(genre, []).append(int(chosen[each]))
    mean = {genre: float(np.mean(each)) for genre, each in total.items()}
    of = dict(zip(ids.tolist(), genres, strict=True))
    return np.array([np.mean([mean.get(g, 0.0) for g in of[i]] or [0.0]) for i in unseen.tolist()])
