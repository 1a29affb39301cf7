"""The weights of a blend: those with the best NDCG@10 on a validation part.

Each user's best unseen items of each model are kept, with all models' scores; a blend's list is
made of these, so that trying a set of weights takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array
from recjobs.models.judged import Judged, ndcg_by
from recjobs.topn import top_n_of_scores

#: Items of each model that can come on a list of ten of the blend.
_CANDIDATES: Final = 100
_BLOCK_SCORES: Final = 1 << 24
#: What one weight is tried with, more or less, before the sum is 1 again.
_STEPS: Final = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.02, 0.05, 0.1, 0.2, 0.5)
_ROUNDS: Final = 10
#: The score of a place without an item.
_NEVER: Final = np.float32(-1e30)


def best_weights(
    judged: Judged, n_models: int, scaled: Callable[[int, Int32Array], Float32Array]
) -> Float32Array:
    """Return the weights with the best mean NDCG@10, float32 ``(n_models,)``, their sum 1.

    From equal weights, or from one model alone where that is better, each weight in turn is tried
    larger and smaller, until nothing is better. Without anyone to judge, all are equal.

    Args:
        judged: Who judges.
        n_models: How many models there are.
        scaled: Given a model's number and users, the scores to be weighted.
    """
    equal = np.full(n_models, 1 / n_models)
    if not len(judged.users):
        return equal.astype(np.float32)
    blocks = [_Block.of(rows, judged, n_models, scaled) for rows in _rows(judged)]

    def value(weights: np.ndarray) -> float:
        return float(np.mean(np.concatenate([block.ndcg(weights) for block in blocks])))

    starts = [equal, *np.eye(n_models)]
    values = [value(weights) for weights in starts]
    first = int(np.argmax(values))
    best, best_value = starts[first], values[first]
    for _ in range(_ROUNDS):
        before = best_value
        for number in range(n_models):
            for step in _STEPS:
                tried = best.copy()
                tried[number] = max(tried[number] + step, 0.0)
                if tried.sum() <= 0:
                    continue
                tried /= tried.sum()
                if (found := value(tried)) > best_value:
                    best, best_value = tried, found
        if best_value == before:
            break
    chosen: Float32Array = best.astype(np.float32)
    return chosen


def _rows(judged: Judged) -> Iterator[slice]:
    step = max(1, _BLOCK_SCORES // max(len(judged.candidates), 1))
    for start in range(0, len(judged.users), step):
        yield slice(start, min(start + step, len(judged.users)))


@dataclass(frozen=True, slots=True)
class _Block:
    """Some users' candidates.

    Attributes:
        scores: float32, ``(n_models, b, c)``.
        relevant: bool, ``(b, c)``.
        many: How much each user liked, ``(b,)``.
    """

    scores: Float32Array
    relevant: BoolArray
    many: np.ndarray

    @classmethod
    def of(
        cls,
        rows: slice,
        judged: Judged,
        n_models: int,
        scaled: Callable[[int, Int32Array], Float32Array],
    ) -> Self:
        users = judged.users[rows]
        every = [scaled(number, users) for number in range(n_models)]
        best = np.concatenate(
            [
                top_n_of_scores(scores.copy(), users, judged.seen, judged.candidates, _CANDIDATES)[
                    0
                ]
                for scores in every
            ],
            axis=1,
        )
        best.sort(axis=1)
        item = np.maximum(best, 0)
        scores = np.stack([np.take_along_axis(scores, item, axis=1) for scores in every])
        twice = np.zeros(best.shape, dtype=np.bool_)
        twice[:, 1:] = best[:, 1:] == best[:, :-1]
        scores[:, (best < 0) | twice] = _NEVER
        many = np.diff(judged.indptr[rows.start : rows.stop + 1])
        return cls(scores, judged.likes(rows, best) & ~twice, many)

    def ndcg(self, weights: np.ndarray) -> np.ndarray:
        """Return each user's NDCG@10 with these weights."""
        weighted = np.tensordot(weights.astype(np.float32), self.scores, axes=1)
        return ndcg_by(weighted, self.relevant, self.many)
