"""The stage `validate`: bad rows are set aside with a reason, the rest is held against limits.

Works through the snapshot a row group at a time. Rows are in order, so exact duplicates are
neighbours, and all that is carried from one group to the next is the last row and the distinct ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.artifacts import RunFolder, StageOutput
from recjobs.columns import INTERACTION_COLUMNS, ITEM_ID, RATING, REASON, TS, USER_ID
from recjobs.config import ExpectationSettings, Level
from recjobs.errors import ConfigError
from recjobs.expectations import Outcome
from recjobs.progress import Progress, silent

BoolArray = npt.NDArray[np.bool_]

#: Schema of ``rejected.parquet``: what came, as text, whatever its type.
REJECTED: Final = pa.schema([(name, pa.string()) for name in (REASON, *INTERACTION_COLUMNS)])

_STAGE: Final = "validate"


@dataclass(frozen=True, slots=True)
class _Rule:
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
    _Rule("null", "nulls", "have no user, item or time", "look for a broken load or join"),
    _Rule("not_finite", "not_finite", "have a rating that is NaN or infinite",
          "look for a division by zero where ratings are made"),
    _Rule("bad_time", "bad_time", "have an absurd time",
          "look at source.time_unit, source.source_timezone, and validate.earliest"),
    _Rule("off_scale", "off_scale", "have a rating off the scale",
          "look at validate.rating_min and rating_max, or for a new scale in the source"),
    _Rule("duplicate", "duplicates", "repeat another row in every column",
          "look for a load that ran twice"),
)  # fmt: skip


@dataclass(slots=True)
class _Tally:
    """What is known of the snapshot after the row groups seen so far."""

    total: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    users: pa.Array | None = None
    items: pa.Array | None = None

    def add(self, accepted: pa.Table, rejected: pa.Table) -> None:
        self.total += len(accepted) + len(rejected)
        self.accepted += len(accepted)
        counts = pc.value_counts(rejected[REASON])
        self.rejected.update({str(c["values"]): int(c["counts"]) for c in counts.to_pylist()})
        self.users = _distinct(self.users, accepted[USER_ID])
        self.items = _distinct(self.items, accepted[ITEM_ID])


def validate(
    snapshot: RunFolder,
    settings: ExpectationSettings,
    recent_rows: Sequence[int],
    as_of: datetime,
    out: StageOutput,
    progress: Progress = silent,
) -> None:
    """Set bad rows of the snapshot aside and hold the rest against the limits.

    Leaves ``interactions.parquet`` (the accepted rows, in their order) and ``rejected.parquet``
    (`REJECTED`). A limit that does not hold raises nothing here: `expectations.require` does, once
    the stage's findings are kept.

    Args:
        snapshot: The run, its stage ``extract`` finished.
        settings: The limits.
        recent_rows: Accepted rows of runs with smaller as_of, newest first.
        as_of: Aware.
        out: Filled; the summary has rows (accepted), rejected (rows by reason) and outcomes.
        progress: Told how far it is.

    Raises:
        ConfigError: ``validate.earliest`` is no date.
    """
    limits = _Limits.of(settings, as_of)
    file = pq.ParquetFile(snapshot.path("extract", "interactions.parquet"))
    tally = _Tally()
    with (
        _writer(out.folder / "interactions.parquet", file.schema_arrow) as accepted_file,
        _writer(out.folder / "rejected.parquet", REJECTED) as rejected_file,
    ):
        for number, (table, repeats) in enumerate(_groups(file), start=1):
            reason = limits.reasons(table, repeats)
            accepted = table.filter(pa.array(reason < 0))
            rejected = _rejected(table, reason)
            accepted_file.write_table(accepted)
            rejected_file.write_table(rejected)
            tally.add(accepted, rejected)
            progress(number / file.num_row_groups, f"{tally.rejected.total():,} rows set aside")
    outcomes = _outcomes(tally, settings, recent_rows)
    out.summary = {
        "rows": tally.accepted,
        "rejected": {rule.reason: tally.rejected[rule.reason] for rule in RULES},
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    progress(1.0, f"{tally.accepted:,} rows accepted, {tally.rejected.total():,} set aside")


@dataclass(frozen=True, slots=True)
class _Limits:
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
    def of(cls, settings: ExpectationSettings, as_of: datetime) -> _Limits:
        try:
            earliest = datetime.fromisoformat(settings.earliest)
        except ValueError as error:
            raise ConfigError(
                f"validate.earliest: expected a date like 1970-01-02. Received: {settings.earliest}"
            ) from error
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
        low, high = self.rating
        ts, rating = table[TS], table[RATING]
        off_scale = np.zeros(len(table), dtype=np.bool_)
        if low is not None:
            off_scale |= _true(pc.less(rating, low))
        if high is not None:
            off_scale |= _true(pc.greater(rating, high))
        broken = [
            np.logical_or.reduce([_true(pc.is_null(table[n])) for n in (USER_ID, ITEM_ID, TS)]),
            ~_true(pc.fill_null(pc.is_finite(rating), True)),
            _true(pc.less(ts, self.earliest)) | _true(pc.greater_equal(ts, self.as_of)),
            off_scale,
            repeats,
        ]
        return np.select(broken, np.arange(len(RULES), dtype=np.int8), default=np.int8(-1))


def _groups(file: pq.ParquetFile) -> Iterator[tuple[pa.Table, BoolArray]]:
    """Yield each row group, and which of its rows equal the row before them."""
    last: pa.Table | None = None
    for number in range(file.num_row_groups):
        table = file.read_row_group(number)
        if not len(table):
            continue
        with_last = pa.concat_tables([last or table.slice(0, 0), table]).combine_chunks()
        repeats = np.ones(len(with_last) - 1, dtype=np.bool_)
        for column in with_last.columns:
            here, before = column[1:], column[:-1]
            both_null = _true(pc.and_(pc.is_null(here), pc.is_null(before)))
            repeats &= _true(pc.equal(here, before)) | both_null
        yield table, repeats if last else np.append(False, repeats)
        last = table.slice(len(table) - 1)


def _rejected(table: pa.Table, reason: npt.NDArray[np.int8]) -> pa.Table:
    bad = table.filter(pa.array(reason >= 0))
    names = pa.array([rule.reason for rule in RULES]).take(pa.array(reason[reason >= 0]))
    columns = [names, *(bad[name].cast(pa.string()) for name in INTERACTION_COLUMNS)]
    return pa.table(columns, schema=REJECTED)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", version="2.6")


def _true(column: pa.ChunkedArray) -> BoolArray:
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def _distinct(known: pa.Array | None, column: pa.ChunkedArray) -> pa.Array:
    new = pc.unique(column)
    return new if known is None else pc.unique(pa.concat_arrays([known, new]))


def _outcomes(
    tally: _Tally, settings: ExpectationSettings, recent_rows: Sequence[int]
) -> list[Outcome]:
    candidates = [
        *(_share(rule, tally, settings) for rule in RULES),
        _volume(tally.accepted, recent_rows[: settings.volume_runs], settings),
        _enough(tally, settings),
    ]
    return [outcome for outcome in candidates if outcome]


def _share(rule: _Rule, tally: _Tally, settings: ExpectationSettings) -> Outcome | None:
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


def _volume(rows: int, recent: Sequence[int], settings: ExpectationSettings) -> Outcome | None:
    if not recent:
        message = f"{rows:,} rows; no earlier run to compare with"
        return _outcome("volume", settings, True, rows, rows, message)
    mean = sum(recent) / len(recent)
    passed = mean / settings.volume_ratio <= rows <= mean * settings.volume_ratio
    message = f"{rows:,} rows, against {mean:,.0f} in the mean of the last {len(recent)} runs"
    if not passed:
        message += (
            f": beyond a factor of {settings.volume_ratio:g} (validate.volume_ratio). Look for a "
            f"load that {'is missing' if rows < mean else 'ran twice'}; if the change is real, "
            'raise the ratio or set validate.volume to "warn" for a night'
        )
    return _outcome("volume", settings, passed, rows, mean, message)


def _enough(tally: _Tally, settings: ExpectationSettings) -> Outcome | None:
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
