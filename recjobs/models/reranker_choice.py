"""Whether a blend is reranked: only where held-out users are better served.

The judging users are dealt into folds; each fold is judged by a network that learned from the
others. The network is taken where the mean difference is above its standard error, as Breiman,
Friedman, Olshen and Stone choose between a simple and a complex tree ("Classification and
Regression Trees", 1984, 3.4.3), and learns once more from all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from recjobs.dataset import BoolArray, Int32Array
from recjobs.models.candidates import Candidates
from recjobs.models.judged import Judged, ndcg_by
from recjobs.models.reranker import Reranker

_FOLDS: Final = 3
#: Of fewer users a standard error says little.
_FEWEST: Final = 30


def choose(
    judged: Judged, candidates: Callable[[Int32Array], Candidates], *, seed: int, threads: int
) -> tuple[Reranker | None, str]:
    """Return the reranker, or None where the blend's own order is as good, and why in words.

    Args:
        judged: Who judges; their newest choices, for the validation part is the newest.
        candidates: Given users, their candidates.
        seed: Of the network.
        threads: TensorFlow's.
    """
    if len(judged.users) < _FEWEST:
        return None, "not reranked: too few users to learn from"
    given = candidates(judged.users)
    given = given.only(_allowed(judged, given))
    liked = judged.likes(slice(0, len(judged.users)), given.item_idx)
    many = np.diff(judged.indptr)
    fold = np.arange(len(judged.users)) % _FOLDS
    gain = np.zeros(len(judged.users))
    for number in range(_FOLDS):
        own, others = fold == number, fold != number
        apart = Reranker.learn(given.of_rows(others), liked[others], seed=seed, threads=threads)
        if apart is None:
            return None, "not reranked: too few choices to learn from"
        held = given.of_rows(own)
        after = ndcg_by(apart.score(held), liked[own], many[own])
        gain[own] = after - ndcg_by(held.blended, liked[own], many[own])
    mean, error = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
    shown = f"{mean:+.4f} ndcg@10, standard error {error:.4f}"
    if mean <= error:
        return None, f"not reranked: {shown}"
    return Reranker.learn(given, liked, seed=seed, threads=threads), f"reranked: {shown}"


def _allowed(judged: Judged, given: Candidates) -> BoolArray:
    item = np.maximum(given.item_idx, 0)
    user = np.repeat(judged.users, item.shape[1])
    seen = judged.seen.holds(user, item.ravel()).reshape(item.shape)
    allowed: BoolArray = judged.candidates[item] & ~seen
    return allowed
