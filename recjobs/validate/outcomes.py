"""What the limits make of the rows that were accepted and set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import ITEM_ID, REASON, USER_ID
from recjobs.config import ExpectationSettings, Level
from recjobs.expectations import Outcome
from recjobs.validate.rules import RULES, Rule

_STAGE: Final = "validate"


@dataclass(slots=True)
class Tally:
    """What is known of the snapshot after the row groups seen so far."""

    total: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    users: pa.Array | None = None
    items: pa.Array | None = None

    def add(self, accepted: pa.Table, rejected: pa.Table) -> None:
        """Count a row group's rows."""
        self.total += len(accepted) + len(rejected)
        self.accepted += len(accepted)
        counts = pc.value_counts(rejected[REASON])
        self.rejected.update({str(c["values"]): int(c["counts"]) for c in counts.to_pylist()})
        self.users = _distinct(self.users, accepted[USER_ID])
        self.items = _distinct(self.items, accepted[ITEM_ID])


def _distinct(known: pa.Array | None, column: pa.ChunkedArray) -> pa.Array:
    new = pc.unique(column)
    return new if known is None else pc.unique(pa.concat_arrays([known, new]))


def outcomes_of(
    tally: Tally, settings: ExpectationSettings, recent_rows: Mapping[int, int]
) -> list[Outcome]:
    """Return an outcome for each expectation that is not off."""
    candidates = [
        *(_share(rule, tally, settings) for rule in RULES),
        _volume(tally.accepted, recent_rows, settings),
        _enough(tally, settings),
    ]
    return [outcome for outcome in candidates if outcome]


def _share(rule: Rule, tally: Tally, settings: ExpectationSettings) -> Outcome | None:
    count = tally.rejected[rule.reason]
    share = count / max(tally.total, 1)
    message = f"{count:,} of {tally.total:,} rows ({share:.2%}) {rule.what}"
    passed = share <= settings.max_bad_share
    if not passed:
        message += (
            f", more than validate.max_bad_share allows ({settings.max_bad_share:.2%}): "
            f"{rule.mend}. Table rejected_row and rejected.parquet hold them"
        )
    return _outcome(rule.expectation, settings, passed, share, settings.max_bad_share, message)


def _volume(rows: int, recent: Mapping[int, int], settings: ExpectationSettings) -> Outcome | None:
    if not recent:
        message = f"{rows:,} rows; no earlier run to compare with"
        return _outcome("volume", settings, True, rows, rows, message)
    mean = sum(recent.values()) / len(recent)
    # Divided: 1.15 * 100 is less than 115, and 115 / 100 no more than 1.15.
    less, more = sorted((rows, mean))
    passed = more == 0 or (less > 0 and more / less <= settings.volume_ratio)
    runs = f"run{'s' if len(recent) > 1 else ''} {', '.join(map(str, recent))}"
    message = f"{rows:,} rows, against {mean:,.0f} in the mean of {runs}"
    if not passed:
        message += (
            f": beyond a factor of {settings.volume_ratio:g} (validate.volume_ratio). Look for a "
            f"load that {'is missing' if rows < mean else 'ran twice'}; if the change is real, "
            'raise the ratio or set validate.volume to "warn" for a night'
        )
    return _outcome("volume", settings, passed, rows, mean, message)


def _enough(tally: Tally, settings: ExpectationSettings) -> Outcome | None:
    found = [
        ("interactions", tally.accepted, settings.min_interactions),
        ("users", len(tally.users) if tally.users is not None else 0, settings.min_users),
        ("items", len(tally.items) if tally.items is not None else 0, settings.min_items),
    ]
    lacking = [(what, count, least) for what, count, least in found if count < least]
    if not lacking:
        counts = ", ".join(f"{count:,} {what}" for what, count, _ in found)
        _, count, least = found[0]
        return _outcome("too_few", settings, True, count, least, counts)
    message = "; ".join(
        f"{count:,} {what}, at least {least:,} expected (validate.min_{what})"
        for what, count, least in lacking
    )
    message += ". Look whether the source is filled and as_of is right"
    _, count, least = lacking[0]
    return _outcome("too_few", settings, False, count, least, message)


def _outcome(
    name: str, settings: ExpectationSettings, passed: bool, observed: float, expected: float,
    message: str,
) -> Outcome | None:  # fmt: skip
    level: Level = getattr(settings, name)
    if level == "off":
        return None
    return Outcome(_STAGE, name, level, passed, float(observed), float(expected), message)
