"""The live run's evaluated model, judged on tonight's holdout although its indexes are another's.

The champion knows users and items by its own night's indexes. Tonight's seen items and candidates
are translated into them by raw id, it ranks there, and its lists are translated back.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from recjobs.errors import ConfigError, DataError
from recjobs.evaluate.holdout import Holdout
from recjobs.evaluate.ranking import LIST_LENGTH, ranked
from recjobs.models import Model
from recjobs.rerank import Reranker
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


def refusal(champion: Champion, log: Interactions, split: Split, settings: Settings) -> str | None:
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
    try:
        training_set(theirs, champion.split.training, champion.split.cutoff, settings.feedback)
    except (ConfigError, DataError) as error:
        return f"the data of run {champion.run_id} don't fit tonight's settings: {error}"
    # Older rows than all that is held out can't be among it.
    first = log.ts[split.holdout].min()
    training = champion.split.training & (theirs.ts >= first)
    own = split.training & (log.ts >= first)
    to_user, to_item = log.users.encode(theirs.users.ids), log.items.encode(theirs.items.ids)
    user, item = to_user[theirs.user_idx[training]], to_item[theirs.item_idx[training]]
    known = (user >= 0) & (item >= 0)
    rows = [
        (user[known], item[known], theirs.ts[training][known]),
        (log.user_idx[split.holdout], log.item_idx[split.holdout], log.ts[split.holdout]),
        (log.user_idx[own], log.item_idx[own], log.ts[own]),
    ]
    trained, held, ours = _numbered(rows)
    seen = np.zeros(max(part.max(initial=0) for part in (trained, held, ours)) + 1, np.bool_)
    seen[trained] = True
    seen[ours] = False
    reached = int(seen[held].sum())
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
    theirs, block = champion.log, settings.score.block_users
    own = training_set(theirs, champion.split.training, champion.split.cutoff, settings.feedback)
    to_item = theirs.items.encode(log.items.ids)
    candidates = own.candidates & _moved(judged.train.candidates, to_item, own.n_items)
    to_user = theirs.users.encode(log.users.ids)
    # Users whom it does not know get indexes after its own: the fallback reads only what they saw.
    strangers = np.flatnonzero(to_user < 0)
    to_user[strangers] = own.n_users + np.arange(len(strangers), dtype=np.int32)
    seen = _seen_moved(judged.seen, to_user, to_item)

    users = to_user[judged.users]
    known = users < own.n_users
    lists = np.full((len(users), LIST_LENGTH), -1, dtype=np.int32)
    rerank = _reranker(champion, own, settings)
    lists[known] = ranked(champion.model, own, users[known], seen, candidates, block, rerank)
    lists[~known] = ranked(None, own, users[~known], seen, candidates, block)
    from_item = log.items.encode(theirs.items.ids)
    translated: Int32Array = np.append(from_item, np.int32(-1))[lists]  # -1 takes the last: -1
    return translated


def _reranker(champion: Champion, own: TrainingSet, settings: Settings) -> Reranker | None:
    """Return tonight's re-ranking of its lists; None too where its data lack what that needs."""
    try:
        return Reranker.of(own, champion.model, settings.rerank)
    except ConfigError:
        return None


def _moved(flags: BoolArray, to: Int32Array, size: int) -> BoolArray:
    """Return flags by another index, False for what has none here; ``to[i]`` is -1 if unknown."""
    moved = np.zeros(size, dtype=np.bool_)
    moved[to[flags & (to >= 0)]] = True
    return moved


def _seen_moved(seen: SeenItems, to_user: Int32Array, to_item: Int32Array) -> SeenItems:
    """Return seen items by other indexes; every user has one there, an unknown item is left out."""
    user, item = np.repeat(to_user, np.diff(seen.indptr)), to_item[seen.indices]
    user, item = user[item >= 0], item[item >= 0]
    # Both indexes of items are in the order of the ids, so a user's items still ascend.
    counts = np.bincount(user, minlength=int(to_user.max(initial=-1)) + 1)
    items = item[np.argsort(user, kind="stable")]
    return SeenItems(np.concatenate([[0], np.cumsum(counts)]), items)


def _numbered(parts: list[tuple[Int32Array, Int32Array, Int64Array]]) -> list[Int64Array]:
    """Return a number for each (user, item, time), the same for the same one in any part."""
    user, item, ts = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((ts, item, user))
    changed = [np.diff(column[order]) != 0 for column in (user, item, ts)]
    new = np.append(np.ones(min(len(ts), 1), dtype=np.bool_), np.logical_or.reduce(changed))
    number = np.empty(len(ts), dtype=np.int64)
    number[order] = np.cumsum(new)
    return np.split(number, np.cumsum([len(part[0]) for part in parts])[:-1])
