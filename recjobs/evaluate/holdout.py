"""Who is judged, and what counts as right for each of them."""

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
    seen_of,
    training_set,
)
from recjobs.split import Split


@dataclass(frozen=True, slots=True)
class Holdout:
    """The judged users and their relevant items, with what was known at the cutoff.

    A relevant item is a positive of the holdout that the list could have held: one that the user
    has seen before, and that ``exclude_seen`` therefore removes, is left out and counted. An item
    that training does not know stays: it is a miss, for every model.

    Attributes:
        train: Everything known at the cutoff.
        held: The held-out pairs.
        seen: What may not be recommended, by what was known at the cutoff.
        users: int32, ``(n_judged,)``, ascending; users with a relevant item.
        drawn_from: Of so many users with a positive in the holdout were they drawn; None where
            all of them were looked at.
        indptr: int64, ``(n_judged + 1,)``.
        relevant: int32; user ``u``'s are ``relevant[indptr[u]:indptr[u + 1]]``, ascending.
        n_relevant: int64, ``(n_judged,)``; at least 1.
        segments: Who belongs to each segment, bool ``(n_judged,)`` by name.
        already_seen: Positive pairs that were left out for having been seen before.
        unknown_items: Relevant pairs whose item can't be recommended yet: misses.
    """

    train: TrainingSet
    held: TrainingSet
    seen: SeenItems
    users: Int32Array
    drawn_from: int | None
    indptr: Int64Array
    relevant: Int32Array
    n_relevant: Int64Array
    segments: dict[str, BoolArray]
    already_seen: int
    unknown_items: int


def holdout(log: Interactions, split: Split, settings: Settings) -> Holdout:
    """Return the holdout of a split.

    Args:
        log: The whole log.
        split: Its parts.
        settings: Of the job; ``[feedback]``, ``[evaluate]`` and the seed are read.
    """
    feedback = settings.feedback
    train = training_set(log, split.training, split.cutoff, feedback)
    held = training_set(log, split.holdout, split.cutoff, feedback)
    seen = seen_of(train)

    drawn, drawn_from = _drawn(np.unique(held.user_idx[held.positive]), settings)
    taken = held.positive & np.isin(held.user_idx, drawn)
    user, item = held.user_idx[taken], held.item_idx[taken]
    possible = ~seen.holds(user, item)
    user, item = user[possible], item[possible]
    users, n_relevant = np.unique(user, return_counts=True)
    history = train.history[users]
    light = settings.evaluate.light_user
    return Holdout(
        train=train,
        held=held,
        seen=seen,
        users=users,
        drawn_from=drawn_from,
        indptr=np.concatenate([[0], np.cumsum(n_relevant)]),
        relevant=item,
        n_relevant=n_relevant,
        segments={
            "all": np.ones(len(users), dtype=np.bool_),
            "known": history > 0,
            "new": history == 0,
            "light": (history > 0) & (history < light),
            "heavy": history >= light,
        },
        already_seen=int((~possible).sum()),
        unknown_items=int((~train.candidates[item]).sum()),
    )


def _drawn(users: Int32Array, settings: Settings) -> tuple[Int32Array, int | None]:
    """Return the users to judge, and of how many they were drawn, where they are not all."""
    at_most = settings.evaluate.max_users
    if len(users) <= at_most:
        return users, None
    rng = np.random.default_rng(settings.job.seed)
    return rng.choice(users, at_most, replace=False, shuffle=False), len(users)
