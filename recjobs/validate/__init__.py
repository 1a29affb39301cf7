"""The stage `validate`: bad rows are set aside with a reason, the rest is held against limits.

Works through the snapshot a row group at a time. Rows are in order, so exact duplicates are
neighbours, and all that is carried from one group to the next is the last row and the distinct ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.artifacts import RunFolder, StageOutput
from recjobs.columns import INTERACTION_COLUMNS, REASON
from recjobs.config import ExpectationSettings
from recjobs.progress import Progress, silent
from recjobs.validate.outcomes import Tally, outcomes_of
from recjobs.validate.rules import RULES, BoolArray, Limits, true_where

__all__ = ["REJECTED", "RULES", "validate"]

#: Schema of ``rejected.parquet``: what came, as text, whatever its type.
REJECTED: Final = pa.schema([(name, pa.string()) for name in (REASON, *INTERACTION_COLUMNS)])


def validate(
    snapshot: RunFolder,
    settings: ExpectationSettings,
    recent_rows: Mapping[int, int],
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
        recent_rows: Accepted rows by run, of runs with smaller as_of, newest first.
        as_of: Aware.
        out: Filled; the summary has rows (accepted), rejected (rows by reason) and outcomes.
        progress: Told how far it is.

    Raises:
        ConfigError: ``validate.earliest`` is no date.
    """
    limits = Limits.of(settings, as_of)
    file = pq.ParquetFile(snapshot.path("extract", "interactions.parquet"))
    tally = Tally()
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
    outcomes = outcomes_of(tally, settings, recent_rows)
    out.summary = {
        "rows": tally.accepted,
        "rejected": {rule.reason: tally.rejected[rule.reason] for rule in RULES},
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    progress(1.0, f"{tally.accepted:,} rows accepted, {tally.rejected.total():,} set aside")


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
            both_null = true_where(pc.and_(pc.is_null(here), pc.is_null(before)))
            repeats &= true_where(pc.equal(here, before)) | both_null
        yield table, repeats if last else np.append(False, repeats)
        last = table.slice(len(table) - 1)


def _rejected(table: pa.Table, reason: npt.NDArray[np.int8]) -> pa.Table:
    bad = table.filter(pa.array(reason >= 0))
    names = pa.array([rule.reason for rule in RULES]).take(pa.array(reason[reason >= 0]))
    columns = [names, *(bad[name].cast(pa.string()) for name in INTERACTION_COLUMNS)]
    return pa.table(columns, schema=REJECTED)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", version="2.6")
