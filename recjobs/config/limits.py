"""What stops a night: limits of the rows, of the model and of the lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from recjobs.config.section import DateText, Level, Section


class ExpectationSettings(Section):
    """Limits of the validate stage, and what happens when one does not hold.

    A level is ``warn`` (recorded, the night goes on), ``stop`` (the night ends, exit code 3) or
    ``off``. Bad rows are set aside whatever the level; a level speaks of their share.
    """

    nulls: Level = "warn"
    not_finite: Level = "warn"
    bad_time: Level = "warn"
    duplicates: Level = "warn"
    off_scale: Level = "stop"
    volume: Level = "stop"
    too_few: Level = "stop"
    max_bad_share: float = Field(default=0.05, ge=0, le=1)  #: of rows, per reason
    earliest: DateText = "1970-01-02"  #: an earlier time is absurd
    rating_min: float | None = None
    rating_max: float | None = None
    min_interactions: int = Field(default=100, ge=1)
    min_users: int = Field(default=10, ge=1)
    min_items: int = Field(default=10, ge=1)
    volume_ratio: float = Field(default=2.0, gt=1)  #: against the mean of recent runs, either way
    volume_runs: int = Field(default=7, ge=1)

    @model_validator(mode="after")
    def _a_scale(self) -> ExpectationSettings:
        low, high = self.rating_min, self.rating_max
        if low is not None and high is not None and low > high:
            raise ValueError(f"rating_min is {low:g} and rating_max {high:g}: no rating fits both")
        return self


class EvaluateSettings(Section):
    """How the evaluation is done."""

    baselines: tuple[str, ...] = ("popular", "item_knn")
    bootstrap: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    light_user: int = Field(default=20, ge=1)  #: fewer interactions in training: segment "light"
    max_users: int = Field(default=20_000, ge=1)  #: of more, so many are drawn and judged


class GateSettings(Section):
    """When a model may go live."""

    metric: Literal["ndcg@10", "recall@20", "hit_rate@10", "mrr"] = "ndcg@10"
    min_users: int = Field(default=100, ge=1)  #: fewer evaluated users: undecided
    min_lift_over_popular: float = 0.0  #: relative; the mean must reach (1 + it) x popularity's
    max_drop: float = Field(default=0.05, ge=0, lt=1)  #: relative, against the champion


class CheckSettings(Section):
    """Limits of the scored lists before they are published."""

    completeness: Level = "stop"
    seen_items: Level = "stop"
    duplicates: Level = "stop"
    candidates: Level = "stop"
    lost_lists: Level = "stop"
    churn: Level = "warn"
    coverage: Level = "warn"
    max_lost_lists: float = Field(default=0.5, ge=0, le=1)  #: share of the reference run's lists
    max_churn: float = Field(default=0.95, ge=0, le=1)  #: share of a list replaced, mean of users
    min_coverage: float = Field(default=0.001, ge=0, le=1)  #: share of candidates recommended
