"""The live run's evaluated model, judged on tonight's holdout although its indexes are another's.

The champion knows users and items by its own night's indexes. Tonight's seen items and candidates
are translated into them by raw id, it ranks there, and its lists are translated back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recjobs.config import Settings
from recjobs.dataset import (
    BoolArray,
    Int32Array,
    Int64Array,
    Interactions,
    SeenItems,
    TrainingSet,
    training_set,
)
from recjobs.evaluate.holdout import Holdout
from recjobs.evaluate.ranking import LIST_LENGTH, ranked
from recjobs.models import Model
from recjobs.split import Split


@dataclass(frozen=True, slots=True)
class Champion:
    """The evaluated model of the newest once-live run with a smaller as_of.

    Attributes:
        run_id: That run.
        model: What it evaluated, not what it refitted: a refit has seen tonight's holdout.
        log: That run's log, with its own indexes.
        split: That run's split; fit and validation are what the model has seen.
    """

    run_id: int
    model: Model
    log: Interactions
    split: Split


def refusal(champion: Champion, log: Interactions, split: Split) -> str | None:
    """Return why the champion can't be compared on tonight's holdout, or None where it can.

    A champion has seen the holdout where one of its training rows, as (user_id, item_id, time), is
    held out tonight. A row that tonight's own training holds as well (two events of one instant) is
    no advantage and does not count.
    """
    theirs = champion.log
    for side in ("users", "items"):
        was, now = getattr(theirs, side).id_type, getattr(log, side).id_type
        if was != now:
            return f"run {champion.run_id} has {side} of id type {was}, tonight's is {now}"
    told = _translated(champion, log)
    rows = [
        _rows(told, np.ones(len(told), dtype=np.bool_)),
        _rows(log, split.holdout),
        _rows(log, split.training),
    ]
    trained, held, ours = _numbered(rows)
    reached = int((np.isin(held, trained) & ~np.isin(held, ours)).sum())
    if reached:
        return (
            f"the training data of run {champion.run_id} reach into tonight's holdout: it has seen "
            f"{reached} of {len(held)} held-out rows"
        )
    return None


def champion_lists(
    champion: Champion, log: Interactions, judged: Holdout, settings: Settings
) -> Int32Array:
    """Return the champion's lists for tonight's judged users, in tonight's indexes.

    Args:
        champion: Comparable with tonight's holdout.
        log: Tonight's log.
        judged: Tonight's holdout.
        settings: Of the job.

    Returns:
        int32, ``(n_judged, LIST_LENGTH)``, -1 padded. A user whom the champion does not know gets
        its popularity fallback.
    """
    theirs, cutoff = champion.log, champion.split.cutoff
    block = settings.score.block_users
    to_user = theirs.users.encode(log.users.ids)
    to_item = theirs.items.encode(log.items.ids)
    known = to_user[judged.users] >= 0
    lists = np.full((len(judged.users), LIST_LENGTH), -1, dtype=np.int32)

    own = training_set(theirs, champion.split.training, cutoff, settings.feedback)
    candidates = own.candidates & _moved(judged.train.candidates, to_item, own.n_items)
    seen = _seen_moved(judged.seen, to_user, to_item, own)
    users = to_user[judged.users[known]]
    ranks = ranked(champion.model, own, users, seen, candidates, block)
    from_item = log.items.encode(theirs.items.ids)
    lists[known] = np.append(from_item, np.int32(-1))[ranks]  # rank -1 takes the last: -1

    # Its fallback for users without an index there: the same rows, counted under tonight's.
    told = _translated(champion, log)
    before = training_set(told, np.ones(len(told), dtype=np.bool_), cutoff, settings.feedback)
    allowed = before.candidates & judged.train.candidates
    lists[~known] = ranked(None, before, judged.users[~known], judged.seen, allowed, block)
    return lists


def _translated(champion: Champion, log: Interactions) -> Interactions:
    """Return the champion's training rows under tonight's indexes, without what is gone since."""
    theirs = champion.log
    to_user = log.users.encode(theirs.users.ids)
    to_item = log.items.encode(theirs.items.ids)
    keep = champion.split.training
    keep = keep & (to_user[theirs.user_idx] >= 0) & (to_item[theirs.item_idx] >= 0)
    return replace(
        log,
        user_idx=to_user[theirs.user_idx[keep]],
        item_idx=to_item[theirs.item_idx[keep]],
        ts=theirs.ts[keep],
        rating=theirs.rating[keep],
        event=theirs.event[keep],
        event_names=theirs.event_names,
    )


def _moved(flags: BoolArray, to: Int32Array, size: int) -> BoolArray:
    """Return flags by another index, False for what has none here; ``to[i]`` is -1 if unknown."""
    moved = np.zeros(size, dtype=np.bool_)
    moved[to[flags & (to >= 0)]] = True
    return moved


def _seen_moved(
    seen: SeenItems, to_user: Int32Array, to_item: Int32Array, own: TrainingSet
) -> SeenItems:
    user = np.repeat(to_user, np.diff(seen.indptr))
    item = to_item[seen.indices]
    keep = (user >= 0) & (item >= 0)
    # Both indexes are in the order of the ids, so what ascends in one ascends in the other.
    counts = np.bincount(user[keep], minlength=own.n_users)
    return SeenItems(np.concatenate([[0], np.cumsum(counts)]), item[keep])


def _rows(log: Interactions, rows: BoolArray) -> tuple[Int64Array, Int64Array]:
    pair = log.user_idx[rows].astype(np.int64) * len(log.items) + log.item_idx[rows]
    return pair, log.ts[rows]


def _numbered(rows: list[tuple[Int64Array, Int64Array]]) -> list[Int64Array]:
    """Return a number for each (pair, time), the same for the same one."""
    pair = np.concatenate([pair for pair, _ in rows])
    ts = np.concatenate([ts for _, ts in rows])
    order = np.lexsort((ts, pair))
    new = np.ones(len(pair), dtype=np.bool_)
    new[1:] = (np.diff(pair[order]) != 0) | (np.diff(ts[order]) != 0)
    number = np.empty(len(pair), dtype=np.int64)
    number[order] = np.cumsum(new)
    return np.split(number, np.cumsum([len(pair) for pair, _ in rows])[:-1])
