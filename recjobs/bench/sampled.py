"""Protocol *sampled*: each pair of E is ranked among the negatives that N gives its user.

No candidate is removed. An item that the model does not know, and one that it has no score for, is
ranked last; whatever ties with the positive is ranked before it. A user whom the model does not
know gets the popular order, as in a night.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from recjobs.bench.figures import Figures, means
from recjobs.bench.files import Judged, Negatives
from recjobs.bench.fitting import Fitted
from recjobs.dataset import BoolArray, Float32Array, Int32Array, Int64Array
from recjobs.errors import DataError
from recjobs.metrics import Float64Array
from recjobs.models.base import BlockModel, FactorModel, pair_products
from recjobs.models.popular import PopularSettings, popularity
from recjobs.progress import Progress

#: Numbers that a block holds at a time: 128 MB of float32.
_NUMBERS: Final = 1 << 25
#: Numbers that a score takes until its rank is known.
_OF_SCORE: Final = 18


def sampled(
    fitted: Fitted,
    judged: Judged,
    relevant: BoolArray,
    negatives: Negatives,
    *,
    k: tuple[int, ...],
    seed: int,
    progress: Progress,
) -> Figures:
    """Rank and judge.

    Args:
        fitted: The model.
        judged: E.
        relevant: bool, ``(n_rows,)``; the rows of E that are to be found.
        negatives: N.
        k: Cutoffs.
        seed: Of the intervals.
        progress: Told the share of users done.

    Raises:
        DataError: No row of E is left to judge by.
    """
    rows = np.flatnonzero(relevant)
    if not len(rows):
        raise DataError(f"E leaves nothing to judge by: {len(relevant)} rows, none is a positive")
    # By user, so that each is scored once.
    rows = rows[np.argsort(judged.owner[rows], kind="stable")]
    owner, code = judged.owner[rows], judged.code[rows]
    started = time.perf_counter()
    scores = _Scores(fitted, judged)
    users, first = np.unique(owner, return_index=True)
    ends = np.append(first, len(owner))
    rank = np.empty(len(owner), dtype=np.int64)
    done = 0
    for size in scores.blocks(np.diff(ends) + np.diff(negatives.indptr)[users]):
        block, pairs = users[done : done + size], slice(ends[done], ends[done + size])
        rank[pairs] = _ranks(scores, block, owner[pairs], code[pairs], negatives)
        done += size
        progress(done / len(users))
    seconds = time.perf_counter() - started

    count = np.diff(ends)
    values = {name: np.add.reduceat(each, first) / count for name, each in _values(rank, k).items()}
    known_items = scores.known[code]
    counts = {
        "users": len(users),
        "users_not_in_train": int((judged.trained_as[users] < 0).sum()),
        "users_by_fallback": int((~scores.by_model(users)).sum()),
        "users_left_out": len(judged.users) - len(users),
        "pairs": len(owner),
        "pairs_of_unknown_items": int((~known_items).sum()),
        "rows_not_positive_dropped": int((~relevant).sum()),
        "negatives": int((negatives.indptr[users + 1] - negatives.indptr[users]).sum()),
    }
    return Figures(means(values, seed), counts, seconds, users, values)


class _Scores:
    """Scores of chosen items for chosen users, by the model or, for whom it doesn't know, by how
    popular an item is.

    Attributes:
        known: Which codes the model can score, bool ``(n_codes + 1,)``; the last one, which -1
            means, is nobody's.
    """  # noqa: D205 (one sentence)

    def __init__(self, fitted: Fitted, judged: Judged) -> None:
        model, train = fitted.model, fitted.train
        self._model = model
        self._trained_as = judged.trained_as
        self._n_items = train.n_items
        unknown = len(judged.strangers) + 1
        self.known = np.append(model.known_items, np.zeros(unknown, dtype=np.bool_))
        self._popularity = popularity(train, PopularSettings().half_life_days)
        self._chosen = np.bincount(train.item_idx, minlength=train.n_items) > 0
        self._factors = model.factors() if isinstance(model, FactorModel) else None

    def by_model(self, users: Int32Array) -> BoolArray:
        """Tell which users of E the model knows."""
        idx = self._trained_as[users]
        known: BoolArray = (idx >= 0) & self._model.known_users[idx]
        return known

    def blocks(self, n_scored: Int64Array) -> list[int]:
        """Return how many users to score at a time, so that memory is bounded.

        Args:
            n_scored: Pairs and negatives of each user, int64 ``(n,)``.
        """
        numbers = np.maximum(_OF_SCORE * n_scored, self._n_items)
        _, size = np.unique(np.cumsum(numbers) // _NUMBERS, return_counts=True)
        sizes: list[int] = size.tolist()
        return sizes

    def of(self, users: Int32Array, row: Int64Array, code: Int32Array) -> Float32Array:
        """Return float32 ``(n,)``; -inf where there is no score.

        Args:
            users: The block's users of E, int32 ``(b,)``.
            row: Whose score, a position in ``users``, int64 ``(n,)``.
            code: Of which item, int32 ``(n,)``.
        """
        by_model = self.by_model(users)
        out = np.full(len(code), -np.inf, dtype=np.float32)
        mine = np.flatnonzero(self.known[code] & by_model[row])
        idx = self._trained_as[users]
        if self._factors is not None:
            out[mine] = pair_products(*self._factors, idx[row[mine]], code[mine])
        elif isinstance(self._model, BlockModel) and by_model.any():
            place = np.cumsum(by_model) - 1
            block = self._model.score_block(idx[by_model])
            out[mine] = block[place[row[mine]], code[mine]]
        inside = (code >= 0) & (code < self._n_items)
        theirs = np.flatnonzero(inside & ~by_model[row])
        theirs = theirs[self._chosen[code[theirs]]]
        out[theirs] = self._popularity[code[theirs]]
        out[np.isnan(out)] = -np.inf
        return out


def _ranks(
    scores: _Scores, users: Int32Array, owner: Int32Array, code: Int32Array, negatives: Negatives
) -> Int64Array:
    """Return the rank of each pair's item among its user's negatives, from 1, int64 ``(n,)``.

    Args:
        scores: Where scores come from.
        users: The block's users of E, ascending.
        owner: Each pair's user, ascending.
        code: Each pair's item.
        negatives: N.
    """
    start, length = negatives.indptr[users], np.diff(negatives.indptr)[users]
    offset = np.concatenate([[0], np.cumsum(length)])
    row = np.repeat(np.arange(len(users)), length)
    place = np.arange(offset[-1]) - offset[row] + start[row]
    negative = negatives.code[place]

    of_pair, n = np.searchsorted(users, owner), len(owner)
    of_both = np.concatenate([of_pair, row])
    both = scores.of(users, of_both, np.concatenate([code, negative]).astype(np.int32))
    # User and score as one number: a search among those of the negatives, in order, counts which
    # are less than the pair's.
    _, level = np.unique(both, return_inverse=True)
    number = of_both * len(both) + level
    less = np.searchsorted(np.sort(number[n:]), number[:n])
    rank: Int64Array = 1 + offset[of_pair + 1] - less
    return rank


def _values(rank: Int64Array, k: tuple[int, ...]) -> dict[str, Float64Array]:
    """Return each metric's value for each pair."""
    found: dict[str, Float64Array] = {}
    for cutoff in k:
        hit = rank <= cutoff
        found[f"ndcg@{cutoff}"] = np.where(hit, 1 / np.log2(rank + 1), 0.0)
        found[f"hit_rate@{cutoff}"] = hit.astype(np.float64)
    found["mrr"] = 1 / rank
    return found
