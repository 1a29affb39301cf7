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
from recjobs.columns import EVENT, INTERACTION_COLUMNS, ITEM_ID, RATING, REASON, TS, USER_ID
from recjobs.config import ExpectationSettings
from recjobs.files import log_format
from recjobs.progress import Progress, silent
from recjobs.threads import ahead
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

    Leaves ``interactions.parquet`` (the accepted rows, in their order: the snapshot's own file
    where these are all) and ``rejected.parquet`` (`REJECTED`). A limit that does not hold raises
    nothing here: `expectations.require` does, once the stage's findings are kept.

    Args:
        snapshot: The run, its stage ``extract`` finished.
        settings: The limits.
        recent_rows: Accepted rows by run, of runs with smaller as_of, newest first.
        as_of: Aware.
        out: Filled; the summary has rows (accepted), rejected (rows by reason) and outcomes.
        progress: Told how far it is.
    """
    limits = Limits.of(settings, as_of)
    path = snapshot.path("extract", "interactions.parquet")
    tally, bad = Tally(), []
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(out.folder / "rejected.parquet", REJECTED, compression="zstd") as to,
    ):
        for number, (table, repeats) in enumerate(ahead(_groups(file)), start=1):
            reason = limits.reasons(table, repeats)
            bad.append(np.flatnonzero(reason >= 0))
            rejected = _rejected(table.take(bad[-1]), reason[bad[-1]])
            to.write_table(rejected)
            tally.add(_without(table, bad[-1]), rejected)
            progress(number / file.num_row_groups, f"{tally.rejected.total():,} rows set aside")
        if tally.rejected:
            _write_accepted(file, bad, out.folder / path.name)
        else:
            out.share(path)
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
    for table in map(file.read_row_group, range(file.num_row_groups)):
        repeats = np.zeros(len(table), dtype=np.bool_)
        repeats[_repeats(table) + 1] = True
        if last and len(table):
            edge = pa.concat_tables([last, table.slice(0, 1)])
            repeats[0] = len(_repeats(edge)) > 0
        yield table, repeats
        last = table.slice(len(table) - 1) if len(table) else last


def _repeats(table: pa.Table) -> npt.NDArray[np.int64]:
    """Return the rows that the next one equals; a column is looked at where those before agree."""
    ts = table[TS]
    rows = np.flatnonzero(_same(ts.slice(0, max(len(ts) - 1, 0)), ts.slice(1)))
    for name in (USER_ID, ITEM_ID, RATING, EVENT):
        column = table[name]
        rows = rows[_same(column.take(rows), column.take(rows + 1))]
    return rows


def _same(here: pa.ChunkedArray, after: pa.ChunkedArray) -> BoolArray:
    both_null = pc.and_(pc.is_null(here), pc.is_null(after))
    return true_where(pc.equal(here, after)) | true_where(both_null)


def _without(table: pa.Table, rows: npt.NDArray[np.int64]) -> pa.Table:
    """Return the table without the rows."""
    if not len(rows):
        return table
    keep = np.ones(len(table), dtype=np.bool_)
    keep[rows] = False
    return table.filter(pa.array(keep))


def _write_accepted(file: pq.ParquetFile, bad: list[npt.NDArray[np.int64]], path: Path) -> None:
    """Write the rows but the bad ones of each row group."""
    schema = file.schema_arrow
    with pq.ParquetWriter(path, schema, **log_format(schema)) as to:
        for number, rows in enumerate(bad):
            to.write_table(_without(file.read_row_group(number), rows))


def _rejected(bad: pa.Table, reason: npt.NDArray[np.int8]) -> pa.Table:
    names = pa.array([rule.reason for rule in RULES]).take(pa.array(reason))
    columns = [names, *(bad[name].cast(pa.string()) for name in INTERACTION_COLUMNS)]
    return pa.table(columns, schema=REJECTED)
