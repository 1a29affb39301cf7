"""The interactions as arrays, in the one order in which they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import EVENT, ITEM_ID, RATING, TS, USER_ID
from recjobs.source.read import INSTANT

#: Rows of a Parquet row group, which is what the stage after this one holds at a time.
GROUP_ROWS: Final = 1 << 20

_NO_TIME: Final = np.iinfo(np.int64).max  # sorts behind every time; none that is read comes near it


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as positions in its ascending distinct values; ``len(values)`` stands for null."""

    values: pa.Array
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Coded:
        """Encode a column."""
        array = column.combine_chunks()
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        order = pc.array_sort_indices(array.dictionary)
        rank = np.empty(len(order) + 1, dtype=np.int32)
        rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        rank[-1] = len(order)
        positions = pc.fill_null(array.indices, len(order)).to_numpy(zero_copy_only=False)
        return cls(array.dictionary.take(order), rank[positions])

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Return the values of the numbered rows."""
        codes = self.codes[rows]
        return self.values.take(pa.array(codes, mask=codes == len(self.values)))


@dataclass(frozen=True, slots=True)
class Log:
    """The interactions as arrays, and the order in which they are written.

    Attributes:
        ts: Microseconds, int64; `_NO_TIME` where null.
        rating: float32; NaN where null.
        has_rating: bool; False where the rating is null.
        order: int64; row numbers by (ts, user, item, rating, event), nulls last in each.
    """

    user: Coded
    item: Coded
    ts: npt.NDArray[np.int64]
    rating: npt.NDArray[np.float32]
    has_rating: npt.NDArray[np.bool_]
    event: Coded
    order: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> Log:
        """Order what was read."""
        user, item, event = (Coded.of(table[name]) for name in (USER_ID, ITEM_ID, EVENT))
        ts = pc.fill_null(table[TS].cast(pa.int64()), _NO_TIME).to_numpy()
        has_rating = pc.is_valid(table[RATING]).to_numpy()
        # Adding zero turns -0 into 0, which is equal to it but has other bytes.
        rating = pc.fill_null(table[RATING], np.nan).to_numpy() + np.float32(0)
        order = _order(ts, user, item, (rating, has_rating, event.codes))
        return cls(user, item, ts, rating, has_rating, event, order)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def users(self) -> pa.Array:
        """The distinct users."""
        return self.user.values

    @property
    def items(self) -> pa.Array:
        """The distinct items."""
        return self.item.values

    def groups(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows in order, a row group at a time."""
        for start in range(0, len(self), GROUP_ROWS):
            rows = self.order[start : start + GROUP_ROWS]
            ts = self.ts[rows]
            columns = [
                self.user.take(rows),
                self.item.take(rows),
                pa.array(ts, mask=ts == _NO_TIME).cast(INSTANT),
                pa.array(self.rating[rows], mask=~self.has_rating[rows]),
                self.event.take(rows),
            ]
            fields = zip(columns, schema, strict=True)
            yield pa.Table.from_arrays([c.cast(f.type) for c, f in fields], schema=schema)


def _order(
    ts: npt.NDArray[np.int64],
    user: Coded,
    item: Coded,
    others: tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.int32]],
) -> npt.NDArray[np.int64]:
    """Return the row numbers by (ts, user, item, rating, event).

    Rating and event are looked at only where the rest is equal: seldom, and sorting by five keys
    takes twice as long.
    """
    pair = user.codes.astype(np.int64) * (len(item.values) + 1) + item.codes
    order = np.lexsort((pair, ts))
    same = (np.diff(ts[order]) == 0) & (np.diff(pair[order]) == 0)
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        group = np.append(0, np.cumsum(~same))[tied]
        rows = order[tied]
        rating, has_rating, event = (key[rows] for key in others)
        order[tied] = rows[np.lexsort((event, rating, ~has_rating, group))]
    return order
