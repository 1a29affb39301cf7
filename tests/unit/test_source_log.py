"""The interactions as arrays: their order, and how much room they take."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from recjobs.source.log import Log
from recjobs.source.wire import INSTANT


def _table(rows: int, *, rated: bool) -> pa.Table:
    rng = np.random.default_rng(3)
    columns = {
        "user_id": rng.integers(1, 500, rows) * 13,
        "item_id": rng.integers(1, 300, rows) * 7,
        "ts": pa.array(np.sort(rng.integers(0, 10**15, rows))).cast(INSTANT),
    }
    if rated:
        columns["rating"] = rng.random(rows, dtype=np.float32)
    return pa.table(columns)


@pytest.mark.parametrize("rated", [True, False])
def test_what_ordering_holds_at_most(rated: bool) -> None:
    rows = 200_000
    table = _table(rows, rated=rated)
    tracemalloc.start()
    log = Log.of(table)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two codes of 4 bytes, the order of 8, the rating of 4 where there is one; the time is a view.
    assert held / rows < 16.5 + 4 * rated
    # While they are ordered, the times once more, and whether each equals the next.
    assert peak / rows < 30 + 4 * rated
    assert log.event.codes.strides == (0,)
    assert log.has_rating.strides == (0,)
    assert (log.rating.strides == (0,)) != rated


def test_a_column_of_nulls_reads_as_one() -> None:
    log = Log.of(_table(10, rated=False))
    schema = pa.schema(
        [("user_id", pa.int64()), ("item_id", pa.int64()), ("ts", INSTANT),
         ("rating", pa.float32()), ("event", pa.string())]
    )  # fmt: skip
    [table] = log.groups(schema)
    assert table["rating"].null_count == table["event"].null_count == len(table) == 10
