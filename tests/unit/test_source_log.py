"""The interactions as arrays: their order, and how much room they take."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recjobs.source.codes import Codes
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
    Log.of(_table(10, rated=rated))  # its loops are loaded
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


def _tied(rows: int, instants: int) -> pa.Table:
    """Make rows with nulls in every column, of which many are alike."""
    rng = np.random.default_rng(5)

    def some(values: list[object], type_: pa.DataType) -> pa.Array:
        return pa.array([values[place] for place in rng.integers(len(values), size=rows)], type_)

    return pa.table(
        {
            "user_id": some([None, *range(4)], pa.int64()),
            "item_id": some([None, "a", "b"], pa.string()),
            "ts": some([None, *range(instants)], pa.int64()).cast(INSTANT),
            "rating": some([None, math.nan, -0.0, 0.0, 1.5], pa.float32()),
            "event": some([None, "buy", "view"], pa.string()),
        }
    )


@pytest.mark.parametrize("instants", [3, 700], ids=["many rows an instant", "few"])
def test_rows_of_an_instant_are_ordered_by_every_other_column(instants: int) -> None:
    table = _tied(3000, instants)

    def key(row: dict[str, Any]) -> list[tuple[bool, bool, Any]]:
        values = [row[name] for name in ("ts", "user_id", "item_id", "rating", "event")]
        return [(v is None, v != v, 0 if v is None or v != v else v) for v in values]

    expected = sorted(table.to_pylist(), key=key)
    [found] = Log.of(table).groups(table.schema)
    assert list(map(key, found.to_pylist())) == list(map(key, expected))
    shuffled = table.take(np.random.default_rng(7).permutation(len(table)))
    [again] = Log.of(shuffled).groups(table.schema)
    assert str(again.to_pylist()) == str(found.to_pylist())  # as text, -0 is not 0 and NaN is NaN


def test_codes_give_back_what_was_encoded() -> None:
    rng = np.random.default_rng(0)
    codes, encoded, given = Codes(), [], []
    for rows in (0, 10, 30_000, 3):  # more distinct ones than there were slots at first
        values = np.repeat(rng.integers(-(2**62), 2**62, rows), 2)
        lengths = np.where(rng.random(2 * rows) < 0.1, -1, 8).astype(np.int32)
        encoded.append(codes.encode(values, lengths))
        given.append(pa.array(values, mask=lengths < 0))
    column = codes.column(encoded)
    assert column.cast(pa.int64()).equals(pa.chunked_array(given))
    known = pa.chunked_array(given).drop_null()
    assert len(column.combine_chunks().dictionary) == len(known.unique())
