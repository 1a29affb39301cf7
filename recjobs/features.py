"""What is known of items and of users beside their interactions: text, categories, numbers.

A snapshot's table holds them in three columns, `columns.FEATURE_COLUMNS`: the text of all text
columns, the categories of all category columns as ``column=value``, and the numbers in the order of
the settings. Here they are aligned to an index, as every other array of the log is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import CATEGORIES, FEATURE_COLUMNS, ITEM_ID, NUMBERS, TEXT, USER_ID
from recjobs.errors import DataError
from recjobs.index import Index

#: Between a category's column and its value.
_IS: Final = "="
#: What separates the values of a text column of categories, unless the settings say otherwise.
SEPARATOR: Final = "|"

#: Their types.
TYPES: Final = {
    TEXT: pa.string(),
    CATEGORIES: pa.list_(pa.string()),
    NUMBERS: pa.list_(pa.float32()),
}


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """The features of one side, a row for each index.

    Attributes:
        text: string, ``(n,)``, without nulls; empty where there is none.
        tokens: Distinct categories, ``column=value``, ascending.
        indptr: int64, ``(n + 1,)``; row ``r`` has ``token_idx[indptr[r]:indptr[r + 1]]``.
        token_idx: Positions in ``tokens``, int32; ascending and distinct within a row.
        numbers: float32, ``(n, n_numbers)``; NaN where unknown.
    """

    text: pa.Array
    tokens: tuple[str, ...]
    indptr: npt.NDArray[np.int64]
    token_idx: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.text)
        if len(self.indptr) != n + 1 or self.numbers.shape[:1] != (n,) or self.text.null_count:
            raise DataError(
                f"features: expected {n} rows of text without nulls, of categories and of numbers. "
                f"Received: {self.text.null_count} nulls, {len(self.indptr) - 1} rows of "
                f"categories, {len(self.numbers)} of numbers"
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
        n, width = self.numbers.shape
        ends = np.arange(n + 1, dtype=np.int32) * np.int32(width)
        columns = {
            TEXT: self.text,
            CATEGORIES: pa.ListArray.from_arrays(pa.array(self.indptr.astype(np.int32)), tokens),
            NUMBERS: pa.ListArray.from_arrays(pa.array(ends), pa.array(self.numbers.ravel())),
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


def from_table(table: pa.Table, index: Index) -> Features:
    """Return the features of any table of items (or users), told apart by type and content.

    Lists are categories, and so are strings that hold ``|`` or of which none holds a space; other
    strings are text; numbers, dates and times are numbers.

    Args:
        table: With a column ``item_id`` or ``user_id``.
        index: Whose ids; rows of others are left out.

    Raises:
        DataError: There is no column of ids, or an id of the index has several rows.
    """
    key = next((name for name in (ITEM_ID, USER_ID) if name in table.column_names), None)
    if key is None:
        received = ", ".join(table.column_names)
        raise DataError(f"features: expected a column {ITEM_ID} or {USER_ID}. Received: {received}")
    texts, categories, numbers = [], {}, []
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name == key or column.null_count == len(column):
            continue
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            categories[name] = column.cast(TYPES[CATEGORIES])
        elif pa.types.is_boolean(column.type):
            categories[name] = split_values(column.cast(pa.string()), "")
        elif not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            numbers.append(as_number(column))
        elif _any_holds(column, SEPARATOR) or not _any_holds(column, " "):
            categories[name] = split_values(column.cast(pa.string()), SEPARATOR)
        else:
            texts.append(column.cast(pa.string()))
    columns = feature_columns(texts, categories, numbers, len(table))
    return aligned(pa.table({key: table[key], **columns}), key, index)


def feature_columns(
    texts: list[pa.Array], categories: dict[str, pa.Array], numbers: list[pa.Array], n: int
) -> dict[str, pa.Array]:
    """Return `columns.FEATURE_COLUMNS` of a table, made of its columns.

    Args:
        texts: Each string ``(n,)``.
        categories: By the column's name, each list of string ``(n,)``.
        numbers: Each float ``(n,)``.
        n: Rows of the table.
    """
    text = pa.array([""] * n, pa.string())
    for column in texts:
        text = pc.binary_join_element_wise(text, pc.fill_null(column, ""), "\n")
    return {
        TEXT: pc.utf8_trim_whitespace(text),
        CATEGORIES: _named(categories, n),
        NUMBERS: _side_by_side(numbers, n),
    }


def split_values(column: pa.Array, separator: str) -> pa.Array:
    """Return a text column of categories as lists; without a separator, each of one value."""
    if separator:
        return pc.split_pattern(column, separator)
    known = pc.is_valid(column).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(known)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), column.drop_null())


def as_number(column: pa.Array) -> pa.Array:
    """Return a number, or a date or time as days since 1970, as float64."""
    if pa.types.is_temporal(column.type):
        micros = column.cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64())
        return pc.divide(micros, 86_400e6)
    return column.cast(pa.float64())


def _named(categories: dict[str, pa.Array], n: int) -> pa.Array:
    """Return the values of all category columns as tokens, distinct and ascending in each row."""
    rows, tokens = [np.zeros(0, dtype=np.int64)], [pa.array([], pa.string())]
    for name, column in categories.items():
        flat = pc.utf8_trim_whitespace(column.flatten())
        kept = pc.fill_null(pc.not_equal(flat, ""), False)
        size = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        row = np.repeat(np.arange(n), size)
        rows.append(row[kept.to_numpy(zero_copy_only=False)])
        tokens.append(pc.binary_join_element_wise(f"{name}{_IS}", flat.filter(kept), ""))
    coded = pa.concat_arrays(tokens).dictionary_encode()
    order = pc.array_sort_indices(coded.dictionary).to_numpy(zero_copy_only=False)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    pair = np.concatenate(rows) * max(len(rank), 1) + rank[coded.indices.to_numpy()]
    row, token = np.divmod(np.unique(pair), max(len(rank), 1))
    ends = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))]).astype(np.int32)
    values = coded.dictionary.take(pa.array(order[token]))
    return pa.ListArray.from_arrays(pa.array(ends), values)


def _side_by_side(numbers: list[pa.Array], n: int) -> pa.Array:
    values = np.full((n, len(numbers)), np.nan, dtype=np.float32)
    for position, column in enumerate(numbers):
        wide = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and unknown like NaN
            values[:, position] = wide.astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    ends = np.arange(n + 1, dtype=np.int32) * np.int32(len(numbers))
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values.ravel()))


def _of_columns(table: pa.Table) -> Features:
    parts: dict[str, Any] = {
        name: table[name].cast(kind).combine_chunks() for name, kind in TYPES.items()
    }
    size = pc.fill_null(pc.list_value_length(parts[CATEGORIES]), 0)
    coded = parts[CATEGORIES].flatten().dictionary_encode()
    tokens = coded.dictionary.to_pylist()
    order = sorted(range(len(tokens)), key=tokens.__getitem__)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    lengths = pc.list_value_length(parts[NUMBERS])
    numbers = np.full((len(table), pc.max(lengths).as_py() or 0), np.nan, dtype=np.float32)
    known = pc.fill_null(pc.greater(lengths, 0), False).to_numpy(zero_copy_only=False)
    flat = parts[NUMBERS].flatten().to_numpy(zero_copy_only=False)
    numbers[known] = flat.reshape(known.sum(), -1) if known.any() else 0
    return Features(
        text=pc.fill_null(parts[TEXT], ""),
        tokens=tuple(tokens[position] for position in order),
        indptr=np.concatenate([[0], np.cumsum(size.to_numpy(zero_copy_only=False))]).astype("i8"),
        token_idx=rank[coded.indices.to_numpy()],
        numbers=numbers,
    )


def _any_holds(column: pa.Array, part: str) -> bool:
    return bool(pc.any(pc.match_substring(column, part)).as_py())
