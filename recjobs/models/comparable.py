"""Scores of different models made comparable: a user's scores in standard units, or by rank."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.stats import rankdata

from recjobs.dataset import Float32Array, Int32Array
from recjobs.models.base import BlockModel, FactorModel, Model
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS

#: What a rank is added to: the constant of Cormack, Clarke and Buettcher.
_RANK_OFFSET: Final = 60


def scores_of(model: Model, users: Int32Array) -> Float32Array:
    """Return any model's scores of all items, float32 ``(b, n_items)``."""
    if isinstance(model, BlockModel):
        return model.score_block(users)
    if not isinstance(model, FactorModel):
        raise TypeError(f"model {model.name}: expected factors or scores of a block")
    user_vectors, item_vectors = model.factors()
    scores = np.empty((len(users), len(item_vectors)), dtype=np.float32)

    def work(rows: slice) -> None:
        # Of one shape, so that a user's scores are the same bits in any block.
        left = np.zeros((TILE_USERS, user_vectors.shape[1]), dtype=np.float32)
        left[: rows.stop - rows.start] = user_vectors[users[rows]]
        scores[rows] = (left @ item_vectors.T)[: rows.stop - rows.start]

    over_rows(work, len(users), TILE_USERS)
    return scores


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
