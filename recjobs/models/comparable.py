"""Scores of different models made comparable: a user's scores in standard units, or by rank."""

from __future__ import annotations

from typing import Final

import numpy as np

from recjobs.dataset import Float32Array

#: What a rank is added to: the constant of Cormack, Clarke and Buettcher.
_RANK_OFFSET: Final = 60


def _standard(scores: Float32Array) -> Float32Array:
    mean = scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    standard: Float32Array = (scores - mean) / np.maximum(deviation, np.float32(1e-12))
    return standard


def _by_rank(scores: Float32Array) -> Float32Array:
    order = np.argsort(-scores, axis=1, kind="stable")
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, np.arange(scores.shape[1], dtype=np.float32)[None], axis=1)
    found: Float32Array = np.float32(1) / (_RANK_OFFSET + 1 + ranks)
    return found


#: By name; both of float32 ``(b, n_items)``, and return as much.
SCALES: Final = {"z": _standard, "rank": _by_rank}
