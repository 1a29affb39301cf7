"""The three columns of features, `columns.FEATURE_COLUMNS`, made of the columns of a table."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import CATEGORIES, ITEM_ID, NUMBERS, TEXT, USER_ID
from recjobs.errors import DataError
from recjobs.features import TYPES, Features, aligned, by_name
from recjobs.index import Index

#: Between a category's column and its value.
_IS: Final = "="
#: What separates the values of a text column of categories, where nobody says otherwise.
_SEPARATOR: Final = "|"


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
    texts: list[pa.Array] = []
    categories: dict[str, pa.Array] = {}
    numbers: dict[str, pa.Array] = {}
    for name in table.column_names:
        column = _plain(table[name].combine_chunks())
        if name == key or column.null_count == len(column):
            continue
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            categories[name] = column.cast(TYPES[CATEGORIES])
        elif pa.types.is_boolean(column.type):
            categories[name] = split_values(column.cast(pa.string()), "")
        elif not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            numbers[name] = _as_number(column)
        elif _any_holds(column, _SEPARATOR) or not _any_holds(column, " "):
            categories[name] = split_values(column.cast(pa.string()), _SEPARATOR)
        else:
            texts.append(column.cast(pa.string()))
    columns = feature_columns(texts, categories, numbers, len(table))
    return aligned(pa.table({key: table[key], **columns}), key, index)


def feature_columns(
    texts: list[pa.Array], categories: dict[str, pa.Array], numbers: dict[str, pa.Array], n: int
) -> dict[str, pa.Array]:
    """Return `columns.FEATURE_COLUMNS` of a table, made of its columns.

    Args:
        texts: Each string ``(n,)``.
        categories: By the column's name, each list of string ``(n,)``.
        numbers: By the column's name, each float ``(n,)``.
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


def _plain(column: pa.Array) -> pa.Array:
    """Return a column of the values themselves, which a dictionary or views may hold."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if pa.types.is_string_view(column.type) else column


def _as_number(column: pa.Array) -> pa.Array:
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


def _side_by_side(numbers: dict[str, pa.Array], n: int) -> pa.Array:
    values = np.full((n, len(numbers)), np.nan, dtype=np.float32)
    for position, column in enumerate(numbers.values()):
        wide = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # beyond float32 is infinite, and unknown like NaN
            values[:, position] = wide.astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return by_name(list(numbers), values)


def _any_holds(column: pa.Array, part: str) -> bool:
    return bool(pc.any(pc.match_substring(column, part)).as_py())
