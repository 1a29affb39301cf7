"""Scores of different models made comparable: a user's scores in standard units, or by rank."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.stats import rankdata

from recjobs.dataset import Float32Array

#: What a rank is added to: the constant of Cormack, Clarke and Buettcher.
_RANK_OFFSET: Final = 60


def _standard(scores: Float32Array) -> Float32Array:
    mean = scores.mean(axis=1, keepdims=True)
    deviation = scores.std(axis=1, keepdims=True)
    standard: Float32Array = (scores - mean) / np.maximum(deviation, np.float32(1e-12))
    return standard


def _by_rank(scores: Float32Array) -> Float32Array:
    # Equal scores have the last of their ranks: what a model has no opinion on is no favourite.
    ranks = rankdata(-scores, method="max", axis=1).astype(np.float32)
    found: Float32Array = np.float32(1) / (_RANK_OFFSET + ranks)
    return found


#: By name; both of float32 ``(b, n_items)``, and return as much.
SCALES: Final = {"z": _standard, "rank": _by_rank}
