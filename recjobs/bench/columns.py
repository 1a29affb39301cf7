"""Columns of a split's files, checked and brought into the types that the log holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import EVENT, RATING, TS, IdType
from recjobs.dataset import BoolArray, Float32Array, Int64Array
from recjobs.errors import ConfigError, DataError
from recjobs.index import arrow_type
from recjobs.snapshot import encode_events

_MICROSECONDS: Final = 1_000_000
#: Epoch seconds are nearer to 1970 than this, which is the year 5138.
_FAR_SECONDS: Final = 100_000_000_000


def check_columns(path: Path, needed: Iterable[str]) -> pa.Schema:
    """Return a file's schema; no row is read.

    Raises:
        ConfigError: There is no such file.
        DataError: It is no Parquet file, or lacks a column.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} can't be read as Parquet: {error}") from error
    for name in needed:
        if name not in schema.names:
            raise DataError(f"{path}: expected a column {name}. Received: {schema.names}")
    return schema


def read_table(path: Path, needed: tuple[str, ...], wanted: tuple[str, ...] = ()) -> pa.Table:
    """Return the needed columns of a file and those of the wanted ones that it has, rows in order.

    Raises:
        ConfigError: There is no such file.
        DataError: It is no Parquet file, or lacks a needed column.
    """
    schema = check_columns(path, needed)
    columns = [name for name in schema.names if name in {*needed, *wanted}]
    try:
        table = pq.ParquetFile(path).read(columns=columns)
        return table.cast(pa.schema([_without_views(field) for field in table.schema]))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} can't be read as Parquet: {error}") from error


def _without_views(field: pa.Field) -> pa.Field:
    """Return a column of text, or of lists of it, without views: Arrow takes no rows of those."""
    kind = field.type
    if pa.types.is_string_view(kind):
        return field.with_type(pa.large_string())
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if lists and pa.types.is_string_view(kind.value_type):
        return field.with_type(pa.large_list(pa.large_string()))
    return field


def id_type_of(path: Path, table: pa.Table, name: str) -> IdType:
    """Return what a column of ids holds: ``"bigint"`` or ``"text"``.

    Raises:
        DataError: Neither.
    """
    found = table.schema.field(name).type
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_integer(found):
        return "bigint"
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        return "text"
    raise DataError(f"{path}: expected {name} as bigint or text. Received: {found}")


def ids_of(path: Path, table: pa.Table, name: str, expected: IdType) -> pa.Array:
    """Return a column of ids in the type that the index holds.

    Raises:
        DataError: It is of another type, or has nulls.
    """
    received = id_type_of(path, table, name)
    if received != expected:
        raise DataError(f"{path}: expected {name} as {expected}, as in T. Received: {received}")
    return as_ids(path, name, table[name].combine_chunks(), expected)


def as_ids(path: Path, name: str, ids: pa.Array, expected: IdType) -> pa.Array:
    """Return ids in the type that the index holds; see `ids_of`."""
    if ids.null_count:
        raise DataError(f"{path}: expected no nulls in {name}. Received: {ids.null_count}")
    if pa.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if len(ids) and pa.types.is_integer(ids.type) != (expected == "bigint"):
        raise DataError(f"{path}: expected {name} as {expected}, as in T. Received: {ids.type}")
    try:
        return ids.cast(arrow_type(expected))
    except pa.ArrowException as error:
        raise DataError(f"{path}: expected {name} as {expected}: {error}") from error


def ratings_of(path: Path, table: pa.Table) -> Float32Array:
    """Return the ratings; NaN where there is none.

    Raises:
        DataError: They are no numbers, or infinite ones.
    """
    if RATING not in table.column_names:
        return np.full(len(table), np.nan, dtype=np.float32)
    try:
        values = pc.fill_null(table[RATING].cast(pa.float64(), safe=False), float("nan"))
    except pa.ArrowException as error:
        raise DataError(f"{path}: expected numbers in {RATING}: {error}") from error
    with np.errstate(over="ignore"):  # too great for float32 is infinite, and refused as that
        rating: Float32Array = values.to_numpy().astype(np.float32)
    infinite = np.flatnonzero(np.isinf(rating))
    if len(infinite):
        raise DataError(
            f"{path}: expected finite numbers in {RATING}. "
            f"Received: {values[int(infinite[0])].as_py()} in row {infinite[0]}"
        )
    return rating


def times_of(path: Path, table: pa.Table) -> tuple[Int64Array, BoolArray]:
    """Return microseconds, and which rows have a time; the others get the least.

    Raises:
        DataError: They are neither timestamps nor epoch seconds, or one is far off.
    """
    if TS not in table.column_names or pa.types.is_null(table.schema.field(TS).type):
        return np.zeros(len(table), dtype=np.int64), np.zeros(len(table), dtype=np.bool_)
    column = table[TS]
    if pa.types.is_floating(column.type):  # no number is no time either
        column = pc.if_else(pc.is_nan(column), None, column)
    timed = column.is_valid().to_numpy().astype(np.bool_)
    try:
        if pa.types.is_temporal(column.type):
            zone = getattr(column.type, "tz", None)
            # Of every type seconds are in range, microseconds of those that are near enough.
            seconds = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
            _check_seconds(path, seconds)
            micros = column.cast(pa.timestamp("us", zone), safe=False)
            ts = micros.cast(pa.int64())
        else:  # epoch seconds
            seconds = column.cast(pa.float64()) if pa.types.is_floating(column.type) else column
            _check_seconds(path, seconds)
            ts = pc.multiply_checked(seconds, _MICROSECONDS).cast(pa.int64(), safe=False)
        values = pc.fill_null(ts, 0).to_numpy().astype(np.int64)
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: expected {TS} as a timestamp or as epoch seconds, {column.type}: {error}"
        ) from error
    values[~timed] = values[timed].min() if timed.any() else 0
    return values, timed


def _check_seconds(path: Path, seconds: pa.ChunkedArray) -> None:
    """Refuse numbers that no clock counts in seconds, and timestamps as far off.

    Raises:
        DataError: One is infinite or far off.
    """
    farthest = pc.max(pc.abs(seconds.cast(pa.float64(), safe=False))).as_py() or 0.0
    if np.isinf(farthest):
        raise DataError(f"{path}: expected {TS} as epoch seconds. Received: an infinite number")
    if farthest > _FAR_SECONDS:
        raise DataError(
            f"{path}: expected {TS} as a timestamp or as epoch seconds, to the year 5138; numbers "
            f"beyond look like milliseconds or finer. Received: {farthest:.0f} seconds from 1970"
        )


def events_of(path: Path, table: pa.Table) -> tuple[npt.NDArray[np.int16], tuple[str, ...]]:
    """Return each row's event type, -1 without one, and the types; see `encode_events`.

    Raises:
        DataError: They are nothing that can be written as text.
    """
    if EVENT not in table.column_names:
        return np.full(len(table), -1, dtype=np.int16), ()
    try:
        return encode_events(table[EVENT].cast(pa.string()))
    except pa.ArrowException as error:
        raise DataError(
            f"{path}: expected {EVENT} as text. Received: {table[EVENT].type}, {error}"
        ) from error
