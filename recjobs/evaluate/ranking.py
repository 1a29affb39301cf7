"""Lists to judge, made by the same function that makes the lists to publish."""

from __future__ import annotations

from typing import Final

import numpy as np

from recjobs.dataset import BoolArray, Int32Array, SeenItems, TrainingSet
from recjobs.fallback import Fallback
from recjobs.models import Model
from recjobs.rerank import Reranker
from recjobs.score import top_n

#: The longest cutoff of a metric.
LIST_LENGTH: Final = 20


def ranked(
    model: Model | None,
    train: TrainingSet,
    users: Int32Array,
    seen: SeenItems,
    candidates: BoolArray,
    block_users: int,
    rerank: Reranker | None = None,
    fallback: Fallback | None = None,
) -> Int32Array:
    """Return lists over the whole catalogue, int32 ``(n_users, LIST_LENGTH)``, -1 padded.

    Args:
        model: None for the popular fallback, which also serves users that the model doesn't know.
        train: What the model was fitted on, in its indexes; the fallback is counted there.
        users: int32, ``(n_users,)``.
        seen: What a user's list may not hold.
        candidates: bool, ``(n_items,)``.
        block_users: Users in a block.
        rerank: What the lists are re-ranked by.
        fallback: Of ``train`` and the candidates, where there is one already.
    """
    blocks = top_n(
        model,
        train,
        users,
        seen,
        candidates,
        LIST_LENGTH,
        block_users=block_users,
        rerank=rerank,
        fallback=fallback,
    )
    none = np.empty((0, LIST_LENGTH), dtype=np.int32)
    return np.concatenate([none, *(block.item_idx for block in blocks)])
