"""What an interaction says, what is held out, and which model learns from the rest."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from recjobs.config.section import Section

PlainValue = bool | int | float | str | list[int] | list[float] | list[str]
#: A hyperparameter; a model made of models takes theirs by name.
ParamValue = PlainValue | dict[str, dict[str, PlainValue]]


class FeedbackSettings(Section):
    """What an interaction says: ratings, or events with weights."""

    kind: Literal["explicit", "implicit"] = "implicit"
    positive_at: float = 0.0  #: a rating at or above it is a positive (where there are ratings)
    #: positives are these events; the others are only seen
    event_weights: dict[str, float] = Field(default={})
    half_life_days: float | None = Field(default=None, gt=0)  #: weight halves per so many days
    #: fewer: not trained on, gets the fallback, or a list by features of their own
    min_user_interactions: int = Field(default=1, ge=1)
    #: fewer: never recommended, but for new items: with a created_at and none at all
    min_item_interactions: int = Field(default=1, ge=1)
    #: "all", "none", event names joined by commas, or "<days>d": not recommended again
    exclude_seen: str = "all"

    @field_validator("event_weights")
    @classmethod
    def _positive_weights(cls, value: dict[str, float]) -> dict[str, float]:
        for event, weight in value.items():
            if not weight > 0:
                raise ValueError(
                    f"the weight of event {event!r} must be above 0, received {weight}"
                )
        return value


def seen_days(rule: str) -> int | None:
    """Return the days of a rule ``exclude_seen`` such as ``"30d"``, None for another kind."""
    days = re.fullmatch(r"([0-9]+)d", rule)
    return int(days[1]) if days else None


class HoldoutSettings(Section):
    """The part that the evaluated model never sees."""

    kind: Literal["global_time", "last_per_user"] = "global_time"
    days: float = Field(default=7.0, gt=0)  #: global_time: the last days before as_of
    last: int = Field(default=1, ge=1)  #: last_per_user: so many interactions of each user
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)  #: carved before the holdout


class ModelSettings(Section):
    """Which model, and its own hyperparameters (each model's page lists them)."""

    name: str = "mf"
    params: dict[str, ParamValue] = Field(default={})


class TrainSettings(Section):
    """Where training starts."""

    #: from an earlier night's weights, for models that are trained by epochs; backfills from none
    warm_start: bool = False
    cold_every: int = Field(default=7, ge=1)  #: one night in so many from scratch, to compare
