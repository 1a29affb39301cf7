"""What is known of items and of users beside their interactions: text, categories, numbers.

A snapshot's table holds them in three columns, `columns.FEATURE_COLUMNS`: the text of all text
columns, the categories of all category columns as ``column=value``, and the numbers with the names
of their columns. Here they are aligned to an index, as every other array of the log is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import CATEGORIES, FEATURE_COLUMNS, NUMBERS, TEXT
from recjobs.errors import DataError
from recjobs.index import Index

#: Their types.
TYPES: Final = {
    TEXT: pa.string(),
    CATEGORIES: pa.list_(pa.string()),
    NUMBERS: pa.list_(pa.struct({"column": pa.string(), "value": pa.float32()})),
}


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of one side, a row for each index.

    Attributes:
        text: string, ``(n,)``, without nulls; empty where there is none.
        tokens: Distinct categories, ``column=value``, ascending.
        indptr: int64, ``(n + 1,)``; row ``r`` has ``token_idx[indptr[r]:indptr[r + 1]]``.
        token_idx: Positions in ``tokens``, int32; ascending and distinct within a row.
        number_names: The columns that the numbers come from.
        numbers: float32, ``(n, len(number_names))``; NaN where unknown.
    """

    text: pa.Array
    tokens: tuple[str, ...]
    indptr: npt.NDArray[np.int64]
    token_idx: npt.NDArray[np.int32]
    number_names: tuple[str, ...]
    numbers: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        n, shape = len(self.text), (len(self.text), len(self.number_names))
        if len(self.indptr) != n + 1 or self.numbers.shape != shape or self.text.null_count:
            raise DataError(
                f"features: expected {n} rows of text without nulls, of categories and of "
                f"{shape[1]} numbers. Received: {self.text.null_count} nulls, "
                f"{len(self.indptr) - 1} rows of categories, numbers {self.numbers.shape}"
            )

    def __len__(self) -> int:
        return len(self.text)

    @property
    def given(self) -> npt.NDArray[np.bool_]:
        """Which rows have any feature, bool ``(n,)``."""
        has_text = pc.not_equal(self.text, "").to_numpy(zero_copy_only=False)
        has_number = ~np.isnan(self.numbers).all(axis=1)
        found: npt.NDArray[np.bool_] = has_text | (np.diff(self.indptr) > 0) | has_number
        return found

    def save(self, path: Path) -> None:
        """Write the features as Parquet: `columns.FEATURE_COLUMNS`."""
        tokens = pa.array(self.tokens, pa.string()).take(pa.array(self.token_idx))
        columns = {
            TEXT: self.text,
            CATEGORIES: pa.ListArray.from_arrays(pa.array(self.indptr.astype(np.int32)), tokens),
            NUMBERS: by_name(self.number_names, self.numbers),
        }
        pq.write_table(pa.table(columns), path, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Features:
        """Read features that `save` wrote."""
        return _of_columns(pq.read_table(path))


#: The features of a side of which nothing is known.
NO_FEATURES: Final = Features(
    pa.array([], pa.string()),
    (),
    np.zeros(1, dtype=np.int64),
    np.zeros(0, dtype=np.int32),
    (),
    np.zeros((0, 0), dtype=np.float32),
)


def aligned(table: pa.Table, key: str, index: Index) -> Features:
    """Return a snapshot's features in the order of an index.

    Args:
        table: With the column of ids and `columns.FEATURE_COLUMNS`; without those, nothing is
            known.
        key: The column of ids.
        index: Whose ids; rows of others are left out.

    Raises:
        DataError: An id of the index has several rows.
    """
    if not set(FEATURE_COLUMNS) <= set(table.column_names):
        return NO_FEATURES
    idx = index.encode(table[key])
    rows = np.flatnonzero(idx >= 0)
    if len(np.unique(idx[rows])) != len(rows):
        raise DataError(f"features: expected one row per {key}. Received: an id with several rows")
    row_of = np.full(len(index), -1, dtype=np.int64)
    row_of[idx[rows]] = rows
    columns = table.select(FEATURE_COLUMNS)
    return _of_columns(columns.take(pa.array(row_of, mask=row_of < 0)))


def by_name(names: Sequence[str], numbers: npt.NDArray[np.float32]) -> pa.ListArray:
    """Return numbers as a snapshot has them: in every row all names, null where unknown.

    Args:
        names: Distinct.
        numbers: float32, ``(n, len(names))``; NaN where unknown.
    """
    n, width = numbers.shape
    columns = pa.array(names, pa.string()).take(pa.array(np.tile(np.arange(width), n)))
    ends = pa.array(np.arange(n + 1, dtype=np.int32) * np.int32(width))
    values = pa.array(numbers.ravel(), from_pandas=True)
    return pa.ListArray.from_arrays(
        ends, pa.StructArray.from_arrays([columns, values], ["column", "value"])
    )


def _of_columns(table: pa.Table) -> Features:
    try:
        parts: dict[str, Any] = {
            name: table[name].cast(kind).combine_chunks() for name, kind in TYPES.items()
        }
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"features: expected {TYPES}. Received those of another version: {error}"
        ) from error
    size = pc.fill_null(pc.list_value_length(parts[CATEGORIES]), 0)
    coded = parts[CATEGORIES].flatten().dictionary_encode()
    tokens = coded.dictionary.to_pylist()
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    columns, values = parts[NUMBERS].flatten().flatten()
    named = columns.dictionary_encode()
    numbers = np.full((len(table), len(named.dictionary)), np.nan, dtype=np.float32)
    width = pc.fill_null(pc.list_value_length(parts[NUMBERS]), 0).to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(table)), width)
    numbers[row, named.indices.to_numpy()] = pc.fill_null(values, np.nan).to_numpy()
    return Features(
        text=pc.fill_null(parts[TEXT], ""),
        tokens=tuple(tokens[position] for position in order),
        indptr=np.concatenate([[0], np.cumsum(size.to_numpy(zero_copy_only=False))]).astype("i8"),
        token_idx=rank[coded.indices.to_numpy()],
        number_names=tuple(named.dictionary.to_pylist()),
        numbers=numbers,
    )
