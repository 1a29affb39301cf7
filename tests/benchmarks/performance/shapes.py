"""Made interactions of a given shape, the same for the same seed, a part of the users at a time.

Popularity is a Zipf-Mandelbrot law (a head that flattens, a long tail), histories are log-normal
with a cutoff, and users prefer one of `TASTES` groups of items, so that there is something to
learn. No pair of a user and an item occurs twice. An item has a release, before which nobody meets
it; a user has a first day, and comes more in the evening and at weekends. Ids are neither dense nor
in the order of popularity.

Memory follows `PART_ROWS`, not the shape: parts hold whole users, so what is drawn for one never
depends on another.
"""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs.config import FeedbackSettings
from recjobs.dataset import NEVER, Interactions, TrainingSet, training_set
from recjobs.index import Index

#: Rows that are drawn at once.
PART_ROWS = 2_000_000
TASTES = 16
#: The last instant of the data, microseconds: midnight before 2026-01-05, a Monday.
AS_OF = 1_767_571_200_000_000

_DAYS = 3 * 364
_DAY = 86_400_000_000
_SHIFT, _EXPONENT, _CUTOFF = 20.0, 0.9, 5.0  # of Zipf-Mandelbrot, and where its tail ends
_SIGMA, _SHORTEST = 1.1, 5  # of the histories
_OWN_TASTE = 0.6
_ATTEMPTS = 12  # at drawing what a user has not had yet
_WEEKDAYS = np.array([0.9, 0.9, 0.9, 1.0, 1.2, 1.5, 1.4])
_HOURS = np.array([2, 1, 1, 1, 1, 1, 2, 4, 5, 5, 5, 5, 6, 6, 5, 5, 6, 7, 9, 11, 12, 11, 8, 4])

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much data.

    Attributes:
        name: One letter, and a number where one side was changed.
        interactions: Distinct pairs.
        users: Users, each with at least one interaction.
        items: Items; those at the tail's end may have none.
    """

    name: str
    interactions: int
    users: int
    items: int


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("S", 1_000_000, 6_000, 3_700),
        Shape("M", 20_000_000, 138_000, 27_000),
        Shape("L", 100_000_000, 1_000_000, 100_000),
    )
}


@dataclass(frozen=True, slots=True)
class Part:
    """Interactions of consecutive users, by user.

    Attributes:
        user_idx: int32, ``(n_rows,)``.
        item_idx: int32, ``(n_rows,)``.
        ts: Microseconds, whole seconds, int64, ``(n_rows,)``; before `AS_OF`.
        rating: 0.5 to 5 by halves, float32, ``(n_rows,)``.
    """

    user_idx: npt.NDArray[np.int32]
    item_idx: npt.NDArray[np.int32]
    ts: Ints
    rating: npt.NDArray[np.float32]


def user_ids(shape: Shape) -> Ints:
    """Return the id of each user, ascending, with gaps: the position is the index."""
    return 10_007 + 13 * np.arange(shape.users, dtype=np.int64)


def item_ids(shape: Shape) -> Ints:
    """Return the id of each item, ascending, with gaps."""
    return 500_009 + 7 * np.arange(shape.items, dtype=np.int64)


def histories(shape: Shape, seed: int = 0) -> Ints:
    """Return the number of interactions of each user, ``(n_users,)``; they sum to the shape's."""
    rng = np.random.default_rng([seed, 1])
    longest = max(shape.items // 4, 1)
    drawn = rng.lognormal(0.0, _SIGMA, shape.users)
    low, high = 0.0, float(shape.interactions)
    for _ in range(60):  # bisect the scale, for both ends are cut off
        scale = (low + high) / 2
        lengths = np.clip(drawn * scale, _SHORTEST, longest)
        low, high = (scale, high) if lengths.sum() < shape.interactions else (low, scale)
    whole = lengths.astype(np.int64)
    left = shape.interactions - int(whole.sum())
    whole[np.argsort(whole - lengths, kind="stable")[:left]] += 1
    if whole.sum() != shape.interactions:
        raise ValueError(
            f"shape {shape.name}: expected {_SHORTEST} to {longest} interactions a user. Received: "
            f"{shape.interactions:,} of {shape.users:,} users"
        )
    return whole


def parts(shape: Shape, seed: int = 0) -> Iterator[Part]:
    """Draw the interactions, whole users at a time, in about `PART_ROWS` rows."""
    lengths = histories(shape, seed)
    catalogue = _Catalogue.of(shape, seed)
    ends = np.cumsum(lengths)
    bounds = np.searchsorted(ends, np.arange(PART_ROWS, ends[-1] + PART_ROWS, PART_ROWS), "right")
    bounds = np.unique(np.concatenate([[0], bounds, [shape.users]]))
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        rng = np.random.default_rng([seed, 2, number])
        users = np.arange(start, stop)
        yield _part(users, lengths[users], catalogue, rng)


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """The items by taste: who likes what, since when, and how well.

    Attributes:
        item: Index of the item at each place of `upto`.
        upto: Cumulative popularity over the places, float64, the last is 1.
        edges: Cumulative popularity where each taste begins, and 1.
        taste: Of each item.
        release: Microseconds, of each item.
        quality: What it adds to a rating, of each item.
    """

    item: Ints
    upto: npt.NDArray[np.float64]
    edges: npt.NDArray[np.float64]
    taste: Ints
    release: Ints
    quality: npt.NDArray[np.float64]

    @classmethod
    def of(cls, shape: Shape, seed: int) -> _Catalogue:
        rng = np.random.default_rng([seed, 3])
        rank = np.arange(shape.items)
        weight = np.exp(-_CUTOFF * rank / shape.items) / (rank + _SHIFT) ** _EXPONENT
        weight = rng.permutation(weight)
        taste = rng.integers(min(TASTES, shape.items), size=shape.items)
        place = np.argsort(taste, kind="stable")
        upto = np.cumsum(weight[place]) / weight.sum()
        upto[-1] = 1.0
        first = np.searchsorted(taste[place], np.arange(TASTES + 1))
        # Half of the catalogue is older than the data.
        age = rng.random(shape.items) * 2 * _DAYS
        release = AS_OF - np.minimum(age, _DAYS).astype(np.int64) * _DAY
        quality = rng.normal(0, 0.4, shape.items)
        return cls(place, upto, np.append(0.0, upto)[first], taste, release, quality)

    def draw(self, taste: Ints, rng: np.random.Generator) -> Ints:
        """Return one item for each of the tastes, mostly one that it prefers."""
        low, high = self.edges[taste], self.edges[taste + 1]
        own = (rng.random(len(taste)) < _OWN_TASTE) & (high > low)
        x = rng.random(len(taste))
        x = np.where(own, low + x * (high - low), x)
        return self.item[np.minimum(np.searchsorted(self.upto, x, "right"), len(self.item) - 1)]


def _part(users: Ints, lengths: Ints, catalogue: _Catalogue, rng: np.random.Generator) -> Part:
    n_items = len(catalogue.item)
    user_taste = rng.integers(TASTES, size=len(users))
    done: list[Ints] = []
    had = np.empty(0, dtype=np.int64)
    open_users, attempt = np.arange(len(users)), 0
    while len(open_users):
        # More than is missing, for some of it is had already; whoever has nearly all that is
        # popular takes any in the end.
        missing = lengths - np.bincount(had // n_items, minlength=len(users))
        of = np.repeat(open_users, missing[open_users] * 3 // 2 + 4)
        any_item = attempt >= _ATTEMPTS
        item = (
            rng.integers(n_items, size=len(of)) if any_item else catalogue.draw(user_taste[of], rng)
        )
        # What is had comes first among equals, then in random order: the order of items and of
        # draws says nothing.
        pair = np.concatenate([had, of * n_items + item])
        key = np.concatenate([np.zeros(len(had)), 1 - rng.random(len(of))])
        pair, first = np.unique(pair, return_index=True)
        owner = pair // n_items
        order = np.lexsort((key[first], owner))
        counts = np.bincount(owner, minlength=len(users))
        rank = np.arange(len(pair)) - np.repeat(np.cumsum(counts) - counts, counts)
        had = pair[order[rank < lengths[owner]]]
        full = counts >= lengths
        finished = full[had // n_items]
        done.append(had[finished])
        had = had[~finished]
        open_users = open_users[~full[open_users]]
        attempt += 1
    pair = np.sort(np.concatenate(done))
    of, item = pair // n_items, pair % n_items
    likes = catalogue.taste[item] == user_taste[of]
    mood = rng.normal(0, 0.4, len(users))
    stars = 3.3 + 0.5 * likes + mood[of] + catalogue.quality[item] + rng.normal(0, 0.8, len(of))
    return Part(
        user_idx=(users[0] + of).astype(np.int32),
        item_idx=item.astype(np.int32),
        ts=_times(len(users), of, catalogue.release[item], rng),
        rating=(np.clip(np.round(stars * 2), 1, 10) / 2).astype(np.float32),
    )


def _times(n_users: int, of: Ints, release: Ints, rng: np.random.Generator) -> Ints:
    """Return when each interaction was: by week, then weekday, then hour, after the release."""
    first = AS_OF - _DAYS * _DAY
    begin = first + (rng.random(n_users) ** 1.3 * _DAYS * 0.98).astype(np.int64) * _DAY
    stay = rng.exponential(0.3 * _DAYS, n_users)
    since = np.maximum(begin[of], release)
    room = (AS_OF - since) // _DAY
    day = (rng.random(len(of)) * np.minimum(room, stay[of] + 1)).astype(np.int64)
    week = (since - first) // _DAY + day
    week -= week % 7  # the window begins on a Monday
    weekday = _draw(_WEEKDAYS, len(of), rng)
    second = _draw(_HOURS, len(of), rng) * 3600 + rng.integers(3600, size=len(of))
    ts = first + (week + weekday) * _DAY + second * 1_000_000
    return np.minimum(np.maximum(ts, since + second * 1_000_000), AS_OF - 1_000_000)


def _draw(weights: npt.NDArray[np.generic], n: int, rng: np.random.Generator) -> Ints:
    upto = np.cumsum(weights) / weights.sum()
    return np.minimum(np.searchsorted(upto, rng.random(n), "right"), len(upto) - 1)


def parquet(shape: Shape, seed: int = 0) -> list[Path]:
    """Return Parquet parts with user_id, item_id, ts, rating; written where they are not yet.

    They lie in ``RECJOBS_BENCH_CACHE``, or a temporary folder; each part is ordered by time.
    """
    default = Path(tempfile.gettempdir()) / "recjobs-bench"
    folder = Path(os.environ.get("RECJOBS_BENCH_CACHE", default))
    folder /= f"{shape.name}-{shape.interactions}-{shape.users}-{shape.items}-{seed}"
    done = folder / "complete"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        users, items = user_ids(shape), item_ids(shape)
        for number, part in enumerate(parts(shape, seed)):
            order = np.argsort(part.ts, kind="stable")
            table = pa.table(
                {
                    "user_id": users[part.user_idx[order]],
                    "item_id": items[part.item_idx[order]],
                    "ts": pa.array(part.ts[order]).cast(pa.timestamp("us", "UTC")),
                    "rating": part.rating[order],
                }
            )
            pq.write_table(table, folder / f"{number:04}.parquet")
        done.touch()
    return sorted(folder.glob("*.parquet"))


@functools.cache
def interactions(shape: Shape, seed: int = 0) -> Interactions:
    """Return the shape as the index stage would leave it; S and M, for it is whole in memory."""
    drawn = list(parts(shape, seed))
    user, item, ts, rating = (
        np.concatenate([getattr(part, name) for part in drawn])
        for name in ("user_idx", "item_idx", "ts", "rating")
    )
    order = np.lexsort((ts, user))  # by (user, ts, item): the parts are by user and item
    return Interactions(
        users=Index(pa.array(user_ids(shape)), "bigint"),
        items=Index(pa.array(item_ids(shape)), "bigint"),
        user_idx=user[order],
        item_idx=item[order],
        ts=ts[order],
        rating=rating[order],
        event=np.full(len(ts), -1, dtype=np.int16),
        event_names=(),
        eligible=np.ones(shape.users, dtype=np.bool_),
        available=np.ones(shape.items, dtype=np.bool_),
        item_created=np.full(shape.items, NEVER, dtype=np.int64),
    )


@functools.cache
def training(
    shape: Shape, seed: int = 0, kind: Literal["implicit", "explicit"] = "implicit"
) -> TrainingSet:
    """Return every interaction aggregated; explicit: ratings, of which 4 and more are positives."""
    log = interactions(shape, seed)
    feedback = FeedbackSettings(kind=kind, positive_at=4.0 if kind == "explicit" else 0.0)
    return training_set(log, np.ones(len(log), dtype=np.bool_), AS_OF, feedback)
