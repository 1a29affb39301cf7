"""Protocol *full*: every candidate is ranked for every user of E.

What a user has in T is excluded from the list. A pair of E that is in T can't be on it, so it is
left out and counted; a pair whose item is no candidate stays, as a miss. A user whom the model does
not know gets the popular list, as in a night.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from recjobs import metrics
from recjobs.bench.figures import Figures, means
from recjobs.bench.files import Judged
from recjobs.bench.fitting import Fitted
from recjobs.dataset import BoolArray, Int32Array, Int64Array, SeenItems, contains, distinct
from recjobs.errors import DataError
from recjobs.fallback import Fallback
from recjobs.metrics import Float64Array
from recjobs.progress import Progress
from recjobs.score import top_n
from recjobs.topn import empty_lists

Candidates = Literal["train", "items", "unseen"]

_BLOCK_USERS: Final = 4096


@dataclass(frozen=True, slots=True)
class _Relevant:
    """What is to be found: by judged user, the codes of distinct items, ascending.

    Attributes:
        users: Positions in E's users, ascending, int64 ``(n_judged,)``.
        indptr: int64, ``(n_judged + 1,)``.
        code: int32, ``(n_pairs,)``.
        in_train: Pairs left out for being in T.
    """

    users: Int64Array
    indptr: Int64Array
    code: Int32Array
    in_train: int


def full(
    fitted: Fitted,
    judged: Judged,
    relevant: BoolArray,
    in_items: BoolArray | None,
    candidates: Candidates,
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
        in_items: bool, ``(n_items,)``; the items of I, None without one.
        candidates: T's items, I's, or those of I (of E without I) that T does not have.
        k: Cutoffs.
        seed: Of the intervals.
        progress: Told the share of users done.

    Raises:
        DataError: No pair of E is left to judge by.
    """
    train = fitted.train
    wanted = _relevant(fitted, judged, relevant)
    chosen = np.bincount(train.item_idx, minlength=train.n_items) > 0
    pool = chosen
    if candidates != "train":
        pool = np.zeros_like(chosen) if in_items is None else in_items
        pool = pool if candidates == "items" else pool & ~chosen
    # Without I the items to rank are known from E alone: the fit has never heard of them.
    strangers = len(judged.strangers) if candidates == "unseen" and in_items is None else 0

    started = time.perf_counter()
    lists, by_model = _lists(fitted, judged, wanted.users, pool, strangers, max(k), progress)
    seconds = time.perf_counter() - started

    hit = metrics.hits(lists, wanted.indptr, wanted.code)
    n_relevant = np.diff(wanted.indptr)
    codes = train.n_items + len(judged.strangers)
    reachable = np.append(pool, np.full(len(judged.strangers), strangers > 0))
    counts = {
        "users": len(wanted.users),
        "users_not_in_train": int((judged.trained_as[wanted.users] < 0).sum()),
        "users_by_fallback": int((~by_model).sum()),
        "users_left_out": len(judged.users) - len(wanted.users),
        "pairs": len(wanted.code),
        "pairs_in_train_dropped": wanted.in_train,
        "pairs_not_candidates": int((~reachable[wanted.code]).sum()) if codes else 0,
        "rows_not_positive_dropped": int((~relevant).sum()),
        "candidates": int(reachable.sum()),
    }
    values = _values(hit, n_relevant, k)
    return Figures(means(values, seed), counts, seconds, wanted.users, values)


def _relevant(fitted: Fitted, judged: Judged, relevant: BoolArray) -> _Relevant:
    train = fitted.train
    stride = np.int64(train.n_items + len(judged.strangers))
    pair = distinct(judged.owner[relevant] * stride + judged.code[relevant])
    owner, code = np.divmod(pair, np.maximum(stride, 1))
    trained_as = judged.trained_as[owner]
    in_train = contains(train.user_idx * stride + train.item_idx, trained_as * stride + code)
    in_train &= trained_as >= 0
    owner, code = owner[~in_train], code[~in_train]
    if not len(owner):
        raise DataError(
            f"E leaves nothing to judge by: {len(judged.owner)} rows, of which "
            f"{int((~relevant).sum())} are no positives and {int(in_train.sum())} pairs are in T"
        )
    users, count = np.unique(owner, return_counts=True)
    indptr = np.concatenate([[0], np.cumsum(count)])
    return _Relevant(users, indptr, code.astype(np.int32), int(in_train.sum()))


def _lists(
    fitted: Fitted,
    judged: Judged,
    users: Int64Array,
    pool: BoolArray,
    strangers: int,
    n: int,
    progress: Progress,
) -> tuple[Int32Array, BoolArray]:
    """Return the codes on each user's list ``(n_judged, n)``, and whose the model made."""
    train = fitted.train
    n = min(n, max(int(pool.sum()), strangers))
    if strangers:  # nothing tells them apart: as popular as each other, in the order of their ids
        codes = np.arange(n, dtype=np.int32) + np.int32(train.n_items)
        return np.tile(codes, (len(users), 1)), np.zeros(len(users), dtype=np.bool_)
    trained_as = judged.trained_as[users]
    known = np.flatnonzero(trained_as >= 0)
    lists, _ = empty_lists(len(users), n)
    by_model = np.zeros(len(users), dtype=np.bool_)
    popular = Fallback(train, pool).order[:n]
    lists[:, : len(popular)] = popular  # for those whom T does not know
    seen = SeenItems(train.indptr, train.item_idx)
    blocks = top_n(fitted.model, train, trained_as[known], seen, pool, n, block_users=_BLOCK_USERS)
    for rows, block in zip(_blocks(known), blocks, strict=True):
        lists[rows], by_model[rows] = block.item_idx, block.n_model > 0
        progress(float(rows[-1] + 1) / len(users))
    return lists, by_model


def _blocks(rows: Int64Array) -> Iterator[Int64Array]:
    for start in range(0, len(rows), _BLOCK_USERS):
        yield rows[start : start + _BLOCK_USERS]


def _values(hit: BoolArray, n_relevant: Int64Array, k: tuple[int, ...]) -> dict[str, Float64Array]:
    """Return each metric's value for each user."""
    found: dict[str, Float64Array] = {}
    for cutoff in k:
        recall = metrics.recall(hit, n_relevant, cutoff)
        found[f"ndcg@{cutoff}"] = metrics.ndcg(hit, n_relevant, cutoff)
        found[f"recall@{cutoff}"] = recall
        found[f"recall_capped@{cutoff}"] = recall * n_relevant / np.minimum(n_relevant, cutoff)
        found[f"hit_rate@{cutoff}"] = metrics.hit_rate(hit, cutoff)
    found["mrr"] = metrics.mrr(hit)
    return found
