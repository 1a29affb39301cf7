"""`Index`: the ids of one side, and the dense index of each.

The order is the ids' own order in Postgres: numeric for integers, by bytes for text
(``COLLATE "C"``), by bytes for uuid, which is held as its canonical lower-case text and sorts the
same. An index therefore depends on the set of ids alone, and "ties are broken by item id" is the
same as "ties are broken by item index".
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import ID_TYPES, IdType
from recjobs.errors import DataError

UNKNOWN = -1

_ARROW: dict[IdType, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "uuid": pa.string(),
    "text": pa.string(),
}


def arrow_type(id_type: IdType) -> pa.DataType:
    """Return the Arrow type that holds ids of an SQL type."""
    return _ARROW[id_type]


@dataclass(frozen=True, slots=True)
class Index:
    """A two-way map between ids and dense indexes.

    Attributes:
        ids: Distinct ids, ascending, without nulls; the position of an id is its index.
        id_type: The ids' SQL type.
    """

    ids: pa.Array
    id_type: IdType

    def __post_init__(self) -> None:
        if self.id_type not in ID_TYPES:
            raise DataError(f"id type: expected one of {ID_TYPES}. Received: {self.id_type!r}")
        if self.ids.type != _ARROW[self.id_type]:
            raise DataError(
                f"ids of type {self.id_type}: expected {_ARROW[self.id_type]}. "
                f"Received: {self.ids.type}"
            )
        if self.ids.null_count:
            raise DataError(f"ids: expected no nulls. Received: {self.ids.null_count}")
        ascending = pc.less(self.ids[:-1], self.ids[1:]) if len(self.ids) > 1 else None
        if ascending is not None and not pc.all(ascending).as_py():
            raise DataError("ids: expected distinct values in ascending order")

    @classmethod
    def of(cls, id_type: IdType, *columns: pa.Array | pa.ChunkedArray) -> Index:
        """Build the index of every id that occurs in the columns."""
        type_ = _ARROW[id_type]
        # In chunks: one array of all columns' texts could be larger than an array may be.
        ids = pc.unique(pa.chunked_array([pc.unique(c).cast(type_) for c in columns], type_))
        return cls(ids.take(pc.array_sort_indices(ids)), id_type)

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Return the index of each id, ``(n,)`` int32; -1 for an id that is not in the index."""
        # Integers are compared as the widest: a bigint that no integer id can be is just unknown.
        whole = pa.types.is_integer(self.ids.type)
        common = pa.int64() if whole else self.ids.type
        if whole and len(self) and self.ids[-1].as_py() - self.ids[0].as_py() < len(ids):
            return self._placed(ids.cast(common))
        # One look-up per distinct id, then a gather: a column repeats each id many times.
        coded = ids.cast(common).dictionary_encode()
        chunks = coded.chunks if isinstance(coded, pa.ChunkedArray) else [coded]
        if not chunks:
            return np.zeros(0, dtype=np.int32)
        distinct = chunks[0].dictionary  # of all of them
        window = self._between(distinct)
        known = self.ids[window.start : window.stop].cast(common)
        found = pc.add(pc.index_in(distinct, value_set=known), window.start)
        table = pc.fill_null(found, UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32)
        table = np.append(table, np.int32(UNKNOWN))
        codes = (pc.fill_null(chunk.indices, len(table) - 1) for chunk in chunks)
        return np.concatenate([table[each.to_numpy(zero_copy_only=False)] for each in codes])

    def _placed(self, ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Return the index of each id by a table from the first id to the last, int64 both."""
        known = self.ids.cast(pa.int64()).to_numpy()
        first, last = known[0], known[-1]
        table = np.full(last - first + 2, UNKNOWN, dtype=np.int32)
        table[known - first] = np.arange(len(known), dtype=np.int32)
        encoded = np.empty(len(ids), dtype=np.int32)
        start = 0
        for chunk in ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]:
            values = chunk.fill_null(0).to_numpy()
            within = (values >= first) & (values <= last)
            if chunk.null_count:
                within &= chunk.is_valid().to_numpy(zero_copy_only=False)
            encoded[start : start + len(chunk)] = table[np.where(within, values - first, -1)]
            start += len(chunk)
        return encoded

    def _between(self, ids: pa.Array) -> range:
        """Return where ids from the least to the greatest of these may be.

        A batch of ids in order is then looked up among about as many, and not among all.
        """
        ends = pc.min_max(ids).as_py()
        if ends["min"] is None:
            return range(0)
        everywhere = range(len(self))
        start = bisect_left(everywhere, ends["min"], key=lambda i: self.ids[i].as_py())
        stop = bisect_right(everywhere, ends["max"], key=lambda i: self.ids[i].as_py())
        return range(start, stop)

    def decode(self, idx: npt.NDArray[np.integer] | Sequence[int]) -> pa.Array:
        """Return the id of each index; null where the index is negative."""
        idx = np.asarray(idx)
        return self.ids.take(pa.array(idx, pa.int64(), mask=idx < 0))

    def save(self, path: Path) -> None:
        """Write the ids as Parquet; the id type goes into the schema's metadata."""
        table = pa.table({"id": self.ids}).replace_schema_metadata({"id_type": self.id_type})
        pq.write_table(table, path)

    @classmethod
    def load(cls, path: Path) -> Index:
        """Read an index that `save` wrote."""
        table = pq.read_table(path)
        id_type = (table.schema.metadata or {}).get(b"id_type", b"").decode()
        return cls(table["id"].combine_chunks(), id_type)
