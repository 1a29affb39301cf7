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
from recjobs.dataset import Float32Array, Int64Array, TrainingSet
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
    nobody = np.full(train.n_users, -1, dtype=np.int64)
    everybody: Float32Array = _counted(train, half_life_days, nobody, 0)[-1].astype(np.float32)
    return everybody


def by_segment(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return the popularity in each segment of users, and last everybody's.

    A segment's own counts are completed by `_PRIOR` of everybody's, so that a small one follows the
    others until it has a say. A user's segment is the row: -1, none, is the last.

    Returns:
        float32 ``(n_segments + 1, n_items)``.
    """
    segments = train.log.segments
    segment = segments.of(np.arange(train.n_users, dtype=np.int32)).astype(np.int64)
    counted = _counted(train, half_life_days, segment, len(segments.names))
    everybody = counted[-1].astype(np.float32)
    counted[:-1] += _PRIOR * everybody / max(everybody.sum(), 1e-9)
    return counted.astype(np.float32)


def _counted(
    train: TrainingSet, half_life_days: float, segment: Int64Array, n_segments: int
) -> Float64Array:
    """Return what the positives count, by their user's segment and item, and last everybody's."""
    from recjobs.models import popular_kernels

    counted = np.zeros((n_segments + 1, train.n_items))
    earliest = np.iinfo(np.int64).min  # where there is no positive
    newest = train.ts.max(initial=earliest, where=train.positive)
    popular_kernels.count_popularity(
        train.indptr, train.item_idx, train.positive, train.weight, train.ts,
        newest, half_life_days * MICROSECONDS_PER_DAY, segment, counted,
    )  # fmt: skip
    return counted
