"""Why a row is set aside, and which rows are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import ITEM_ID, RATING, TS, USER_ID
from recjobs.config import ExpectationSettings

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rule:
    """Why a row is set aside.

    Attributes:
        reason: As in ``rejected.parquet``.
        expectation: The key of its level in the settings.
        what: What such rows are, for the message.
        mend: What to look at.
    """

    reason: str
    expectation: str
    what: str
    mend: str


#: In order: a row that breaks several rules is set aside for the first.
RULES: Final = (
    Rule("null", "nulls", "have no user, item or time", "look for a broken load or join"),
    Rule("not_finite", "not_finite", "have a rating that is NaN or infinite",
          "look for a division by zero where ratings are made"),
    Rule("bad_time", "bad_time", "have an absurd time",
          "look at source.time_unit, source.source_timezone, and validate.earliest"),
    Rule("off_scale", "off_scale", "have a rating off the scale",
          "look at validate.rating_min and rating_max, or for a new scale in the source"),
    Rule("duplicate", "duplicates", "repeat another row in every column",
          "look for a load that ran twice"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """What a row must keep to.

    Attributes:
        earliest: The first time that is not absurd.
        as_of: The first time that is too late.
        rating: The scale, either end None where it is open.
    """

    earliest: pa.Scalar
    as_of: pa.Scalar
    rating: tuple[float | None, float | None]

    @classmethod
    def of(cls, settings: ExpectationSettings, as_of: datetime) -> Limits:
        """Take the limits of a run from the settings."""
        earliest = datetime.fromisoformat(settings.earliest)
        instant = pa.timestamp("us", "UTC")
        earliest = earliest if earliest.tzinfo else earliest.replace(tzinfo=UTC)
        return cls(
            pa.scalar(earliest, instant),
            pa.scalar(as_of, instant),
            (settings.rating_min, settings.rating_max),
        )

    def reasons(self, table: pa.Table, repeats: BoolArray) -> npt.NDArray[np.int8]:
        """Return for each row the position in `RULES` of the first that it breaks, else -1.

        Args:
            table: A row group.
            repeats: bool, ``(n_rows,)``; whether the row equals the one before it.
        """
        # The limits in the ratings' own type: 4.8 as a double is not the 4.8 that they hold.
        low, high = self.rating
        ts, rating = table[TS], table[RATING]
        off_scale = np.zeros(len(table), dtype=np.bool_)
        if low is not None:
            off_scale |= true_where(pc.less(rating, pa.scalar(low, rating.type)))
        if high is not None:
            off_scale |= true_where(pc.greater(rating, pa.scalar(high, rating.type)))
        broken = [
            np.logical_or.reduce(
                [true_where(pc.is_null(table[n])) for n in (USER_ID, ITEM_ID, TS)]
            ),
            ~true_where(pc.fill_null(pc.is_finite(rating), True)),
            true_where(pc.less(ts, self.earliest)) | true_where(pc.greater_equal(ts, self.as_of)),
            off_scale,
            repeats,
        ]
        return np.select(broken, np.arange(len(RULES), dtype=np.int8), default=np.int8(-1))


def true_where(column: pa.ChunkedArray) -> BoolArray:
    """Return a boolean column as an array; null counts as false."""
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)
