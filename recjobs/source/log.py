"""The interactions as arrays, in the one order in which they are written."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import EVENT, ITEM_ID, MICROSECONDS_PER_DAY, RATING, TS, USER_ID
from recjobs.pairs import taken
from recjobs.source.wire import INSTANT
from recjobs.threads import cores, over_rows

#: Rows of a Parquet row group, which is what the stage after this one holds at a time.
GROUP_ROWS: Final = 1 << 20

_NO_TIME: Final = np.iinfo(np.int64).max  # sorts behind every time; none that is read comes near it


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as positions in its ascending distinct values; ``len(values)`` stands for null."""

    values: pa.Array
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.Array | pa.ChunkedArray) -> Coded:
        """Encode a column."""
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        order = pc.array_sort_indices(array.dictionary)
        rank = np.empty(len(order) + 1, dtype=np.int32)
        rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
        rank[-1] = len(order)
        positions = pc.fill_null(array.indices, len(order)).to_numpy(zero_copy_only=False)
        return cls(array.dictionary.take(order), *taken(positions, rank))

    @classmethod
    def none(cls, rows: int) -> Coded:
        """Return a column of nulls, which takes no room."""
        return cls(pa.array([], pa.string()), np.broadcast_to(np.int32(0), rows))

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
        """Order what was read; rating and event may be missing."""
        n = len(table)
        given = dict(zip(table.column_names, table.columns, strict=True))
        del table  # and each column with what it becomes
        user, item = (Coded.of(given.pop(name)) for name in (USER_ID, ITEM_ID))
        event = Coded.of(given.pop(EVENT)) if EVENT in given else Coded.none(n)
        ts = pc.fill_null(given.pop(TS).cast(pa.int64()), _NO_TIME).to_numpy()
        rating, has_rating = _ratings(given.pop(RATING, None), n)
        # What encoding has freed is given back before ordering asks for as much again.
        pa.default_memory_pool().release_unused()
        order = _order(ts, user, item, (rating, has_rating, event.codes))
        return cls(user, item, ts, rating, has_rating, event, order)

    def __len__(self) -> int:
        return len(self.order)

    def groups(self, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the rows in order, a row group at a time."""
        for start in range(0, len(self), GROUP_ROWS):
            yield self._rows(start, start + GROUP_ROWS, schema)

    def days(self, until: int, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
        """Yield each day before ``until`` that has rows: days since 1970 by UTC, and its rows."""
        start, end = 0, self._place(until)
        while start < end:
            stop = min(start + GROUP_ROWS, end)
            last = self._day(stop - 1)
            stop = self._place(last + 1)
            rows = self._rows(start, stop, schema)  # of many days at once: some are small
            at = start
            while at < stop:
                day = self._day(at)
                after = self._place(day + 1)
                yield day, rows.slice(at - start, after - at)
                at = after
            start = stop

    def _day(self, place: int) -> int:
        return int(self.ts[self.order[place]]) // MICROSECONDS_PER_DAY

    def _place(self, day: int) -> int:
        """Return how many rows lie before a day."""
        return int(np.searchsorted(self.ts, day * MICROSECONDS_PER_DAY, sorter=self.order))

    def _rows(self, start: int, stop: int, schema: pa.Schema) -> pa.Table:
        rows = self.order[start:stop]
        ts = self.ts[rows]
        columns = [
            self.user.take(rows),
            self.item.take(rows),
            pa.array(ts, mask=ts == _NO_TIME).cast(INSTANT),
            pa.array(self.rating[rows], mask=~self.has_rating[rows]),
            self.event.take(rows),
        ]
        fields = zip(columns, schema, strict=True)
        return pa.Table.from_arrays([c.cast(f.type) for c, f in fields], schema=schema)


def _ratings(
    column: pa.ChunkedArray | None, rows: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return the ratings, and where there is one; what is the same everywhere takes no room."""
    if column is None:
        return np.broadcast_to(np.float32(np.nan), rows), np.broadcast_to(np.False_, rows)
    has_rating = np.broadcast_to(np.True_, rows)
    if column.null_count:
        has_rating = pc.is_valid(column).to_numpy(zero_copy_only=False)
    # Adding zero turns -0 into 0, which is equal to it but has other bytes.
    return pc.fill_null(column, np.nan).to_numpy() + np.float32(0), has_rating


def _order(
    ts: npt.NDArray[np.int64],
    user: Coded,
    item: Coded,
    others: tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.int32]],
) -> npt.NDArray[np.int64]:
    """Return the row numbers by (ts, user, item, rating, event).

    By time alone first, which is quick where the source holds its rows about as they came.
    """
    from recjobs.source.log_kernels import order_instants

    rating, has_rating, event = others
    order = _by_time(ts)
    step = max(1, -(-len(ts) // cores()))
    # A part begins with an instant, so that no instant is in two.
    instants = ts[order[::step]]
    begin = [*np.searchsorted(ts, instants, sorter=order).tolist(), len(ts)]

    def work(part: slice) -> None:
        at = part.start // step
        own = order[begin[at] : begin[at + 1]]
        many = order_instants(own, ts, user.codes, item.codes, rating, has_rating, event)
        for start, end in many:
            rows = own[start:end]
            keys = (event, rating, ~has_rating, item.codes, user.codes)
            own[start:end] = rows[np.lexsort([key[rows] for key in keys])]

    over_rows(work, len(ts), step)
    return order


def _by_time(ts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the row numbers by time, those of an instant as they are: halves by threads."""
    from recjobs.source.log_kernels import merge

    half = len(ts) // 2
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(np.argsort, ts[half:], kind="stable")
        earlier = np.argsort(ts[:half], kind="stable")
        order = np.empty(len(ts), dtype=np.int64)
        merge(ts, half, earlier, later.result(), order)
    return order
