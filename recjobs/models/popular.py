"""Time-decayed popularity: the floor that every model must beat, and the fallback.

Score: the sum, over the users who liked the item, of their damped weight over 1 + age /
``half_life_days``, where the age is counted from the newest interaction of all. So an interaction
counts half at that age and a third at twice that age: unlike an exponential decay this suits data
that drifts within days as well as data that hardly drifts. Nothing is sampled.

Ji, Sun, Zhang and Li, "A Re-visit of the Popularity Baseline in Recommender Systems", SIGIR 2020.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import Section
from recjobs.dataset import Float32Array, TrainingSet
from recjobs.models.base import CLOSED_FORM, Arrays, FactorModel, History
from recjobs.progress import Progress, silent


class PopularSettings(Section):
    """Hyperparameters of `Popular`."""

    half_life_days: float = Field(default=3.0, gt=0)  #: an interaction this old counts half


class Popular(FactorModel):
    """Everybody's list is the same, but for what they have seen."""

    name: ClassVar[str] = "popular"
    Settings: ClassVar[type[Section]] = PopularSettings
    settings: PopularSettings
    popularity: Float32Array

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
        self.popularity = popularity(train, self.settings.half_life_days)
        self.known_users = train.trained & (train.history > 0)
        self.known_items = np.ones(train.n_items, dtype=np.bool_)
        return CLOSED_FORM

    def factors(self) -> tuple[Float32Array, Float32Array]:
        """Return vectors of one dimension: 1 and the popularity."""
        return np.ones((len(self.known_users), 1), dtype=np.float32), self.popularity[:, None]

    def relation(self) -> None:
        """Popularity relates no items."""
        return None

    def _state(self) -> Arrays:
        return {"popularity": self.popularity}

    def _restore(self, arrays: Arrays) -> None:
        self.popularity = arrays["popularity"]


def popularity(train: TrainingSet, half_life_days: float) -> Float32Array:
    """Return each item's time-decayed popularity, float32 ``(n_items,)``."""
    liked = train.positive
    newest = train.ts[liked].max(initial=0)
    age_days = (newest - train.ts[liked]) / MICROSECONDS_PER_DAY
    weight = np.log1p(train.weight[liked]) / np.log(2) / (1 + age_days / half_life_days)
    total = np.bincount(train.item_idx[liked], weights=weight, minlength=train.n_items)
    return total.astype(np.float32)
