"""Time-decayed popularity: the floor that every model must beat, and the fallback.

Score: the sum, over the users who liked the item, of their damped weight over 1 + age /
``half_life_days``, where the age is counted from the newest interaction of all. So an interaction
counts half at that age and a third at twice that age: unlike an exponential decay this suits data
that drifts within days as well as data that hardly drifts. Where the users have segments
(``source.users.segment``), each has a popularity of its own. Nothing is sampled.

Ji, Sun, Zhang and Li, "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import Section
from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import CLOSED_FORM, Arrays, FactorModel, History
from recjobs.progress import Progress, silent

Float64Array = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]

#: Everybody's interactions that a segment's own are completed by.
_PRIOR = 20.0


class PopularSettings(Section):
    """Hyperparameters of `Popular`."""

    half_life_days: float = Field(default=3.0, gt=0)  #: an interaction this old counts half


class Popular(FactorModel):
    """Everybody's list in a segment is the same, but for what they have seen."""

    name: ClassVar[str] = "popular"
    Settings: ClassVar[type[Section]] = PopularSettings
    settings: PopularSettings
    _popularity: Float32Array
    _segment: Int16Array

    def fit(
        self,
        train: TrainingSet,
        *,
        validation: TrainingSet | None = None,
        epochs: int | None = None,
        progress: Progress = silent,
    ) -> History:
        """Count; see `Model.fit`."""
        train.require_rows()
        self._popularity = by_segment(train, self.settings.half_life_days)
        self._segment = train.log.segments.of(np.arange(train.n_users, dtype=np.int32))
        self.known_users = train.trained & (train.history > 0)
        self.known_items = np.ones(train.n_items, dtype=np.bool_)
        return CLOSED_FORM

    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return vectors with a dimension for each segment: whose it is, and its popularity."""
        whose = np.eye(len(self._popularity), dtype=np.float32)[self._segment]
        return whose, np.ascontiguousarray(self._popularity.T)

    def relation(self) -> None:
        """Popularity relates no items."""
        return None

    def _state(self) -> Arrays:
        return {"popularity": self._popularity, "segment": self._segment}

    def _restore(self, arrays: Arrays) -> None:
        self._popularity, self._segment = arrays["popularity"], arrays["segment"]


def popularity(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return each item's time-decayed popularity, float32 ``(n_items,)``."""
    weight = _weights(train, half_life_days)
    liked = train.item_idx[train.positive]
    return np.bincount(liked, weights=weight, minlength=train.n_items).astype(np.float32)


def by_segment(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return the popularity in each segment of users, and last everybody's.

    A segment's own counts are completed by `_PRIOR` of everybody's, so that a small one follows the
    others until it has a say. A user's segment is the row: -1, none, is the last.

    Returns:
        float32 ``(n_segments + 1, n_items)``.
    """
    everybody = popularity(train, half_life_days)
    n_segments, n_items = len(train.log.segments.names), train.n_items
    if not n_segments:
        return everybody[None, :]
    segment = train.log.segments.of(train.user_idx[train.positive])
    known = segment >= 0
    cell = segment[known].astype(np.int64) * n_items + train.item_idx[train.positive][known]
    weight = _weights(train, half_life_days)[known]
    own = np.bincount(cell, weights=weight, minlength=n_segments * n_items)
    own = own.reshape(n_segments, n_items) + _PRIOR * everybody / max(everybody.sum(), 1e-9)
    return np.concatenate([own, everybody[None, :]]).astype(np.float32)


def _weights(train: TrainingSet, half_life_days: float) -> Float64Array:
    """Return what each positive counts, float64 ``(n_positives,)``."""
    liked = train.positive
    newest = train.ts[liked].max(initial=0)
    age_days = (newest - train.ts[liked]) / MICROSECONDS_PER_DAY
    damped = np.log1p(train.weight[liked]) / np.log(2)
    weight: Float64Array = damped / (1 + age_days / half_life_days)
    return weight
