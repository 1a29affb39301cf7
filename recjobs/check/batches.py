"""Rows of ``lists.parquet``, some at a time, as arrays under tonight's indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import REASON, USER_ID
from recjobs.dataset import BoolArray, Int32Array, Int64Array, Interactions
from recjobs.errors import DataError
from recjobs.files import row_batches

_BATCH_USERS: Final = 8192
_PER_ITEM: Final = ("item_ids", "scores", "sources", "because_item_ids")
_FEATURES: Final = "because_features"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows, and their entries one after another.

    Attributes:
        user_idx: int32, ``(n_rows,)``; -1 for an unknown user.
        length: int64, ``(n_rows,)``; entries per row.
        bounds: int64, ``(n_rows + 1,)``; the first entry of each row, and the number of all.
        explained: bool, ``(n_rows,)``; rows with a reason.
        ragged: bool, ``(n_rows,)``; rows with more or fewer scores, sources or reasons than items;
            features are null where the model tells none.
        item_idx: int32, ``(n_entries,)``; -1 for an unknown or null item.
    """

    user_idx: Int32Array
    length: Int64Array
    bounds: Int64Array
    explained: BoolArray
    ragged: BoolArray
    item_idx: Int32Array


def batches(paths: Sequence[Path], log: Interactions) -> Iterator[Batch]:
    """Yield the rows of each part's ``lists.parquet``, in order.

    Raises:
        DataError: A file has not the columns that the score stage writes.
    """
    for path in paths:
        yield from _batches(path, log)


def _batches(path: Path, log: Interactions) -> Iterator[Batch]:
    with pq.ParquetFile(path) as file:
        missing = {USER_ID, *_PER_ITEM, REASON} - set(file.schema_arrow.names)
        if missing:
            raise DataError(
                f"{path}: expected the columns of the score stage. Received a file without "
                f"{', '.join(sorted(missing))}"
            )
        for rows in row_batches(file, _BATCH_USERS):
            yield _encoded(rows, log)


def _encoded(rows: pa.RecordBatch, log: Interactions) -> Batch:
    lengths = [_lengths(rows.column(name)) for name in _PER_ITEM]
    if _FEATURES in rows.schema.names:  # not in those of a reference run of an earlier version
        features = rows.column(_FEATURES)
        lengths.append(np.where(features.is_valid(), _lengths(features), lengths[0]))
    return Batch(
        user_idx=log.users.encode(rows.column(USER_ID)),
        length=lengths[0],
        bounds=np.append(0, np.cumsum(lengths[0])),
        explained=rows.column(REASON).is_valid().to_numpy(zero_copy_only=False),
        ragged=np.any([length != lengths[0] for length in lengths], axis=0),
        item_idx=log.items.encode(rows.column("item_ids").flatten()),
    )


def _lengths(lists: pa.Array) -> Int64Array:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)
