"""The stage `extract`: the source before ``as_of``, as three Parquet files.

The same rows give the same bytes, whatever the order in which the source holds them, and rows at
or after ``as_of`` change none: not in the interactions, and of items and users only those are kept
that were created before it or occur in the interactions.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs import db
from recjobs.artifacts import StageOutput, file_sha256
from recjobs.columns import (
    CATEGORIES,
    CREATED_AT,
    EVENT,
    FEATURE_COLUMNS,
    INTERACTION_COLUMNS,
    ITEM_COLUMNS,
    ITEM_ID,
    NUMBERS,
    RATING,
    SEGMENT,
    TEXT,
    TITLE,
    TS,
    USER_COLUMNS,
    USER_ID,
)
from recjobs.config import FeatureColumns, SourceSettings
from recjobs.errors import ConfigError, DataError
from recjobs.features import TYPES, feature_columns, split_values
from recjobs.index import arrow_type
from recjobs.progress import Progress, silent
from recjobs.source.features import JOINED_BY, column_name
from recjobs.source.log import GROUP_ROWS, Log
from recjobs.source.queries import Queries, plan
from recjobs.source.read import read_tables
from recjobs.source.wire import INSTANT

#: How Parquet is written: fixed, so that the same rows give the same bytes.
PARQUET: Final[dict[str, Any]] = {"compression": "zstd", "version": "2.6"}

_FILES: Final = ("interactions", "items", "users")


def extract(
    source: SourceSettings,
    as_of: datetime,
    out: StageOutput,
    *,
    dsn: str,
    progress: Progress = silent,
) -> None:
    """Read the source on one snapshot and write it as Parquet.

    Leaves ``interactions.parquet`` (`columns.INTERACTION_COLUMNS`, ordered by them with the time
    first), ``items.parquet`` and ``users.parquet`` (ordered by id, their features behind the other
    columns, and the users' segment behind those; no rows where not configured).

    Args:
        source: Which tables and columns.
        as_of: Aware; only interactions before it are read.
        out: Filled; the summary has rows, items, users, user_id_type, item_id_type, has_ratings,
            has_events and a digest of the three files.
        dsn: The database.
        progress: Told how far it is.

    Raises:
        ConfigError: A table, a column or a right is missing, or a type does not fit.
        DataError: An item or user occurs twice in its table, or no row of the users' counts.
        DatabaseError: The server can't be reached, was lost, or cancelled every attempt.
    """
    if as_of.tzinfo is None:
        raise ConfigError(f"as_of: expected an instant with a time zone. Received: {as_of!r}")
    with db.connect(dsn) as connection:
        queries = plan(connection, source, as_of)
    texts = {name: text for name in _FILES if (text := getattr(queries, name))}
    tables = read_tables(
        dsn, texts, queries.expected_rows, lambda done, note="": progress(0.6 * done, note)
    )

    log = Log.of(tables.pop("interactions"))
    progress(0.75, f"{len(log):,} interactions ordered")
    schema = _schema(INTERACTION_COLUMNS, queries)
    with pq.ParquetWriter(out.folder / "interactions.parquet", schema, **PARQUET) as writer:
        for group in log.groups(schema):
            writer.write_table(group, row_group_size=GROUP_ROWS)
    schema = _schema(ITEM_COLUMNS + FEATURE_COLUMNS, queries)
    items = _side(tables.get("items"), ITEM_ID, log.items, as_of, schema, source.items)
    schema = _schema((*USER_COLUMNS, *FEATURE_COLUMNS, SEGMENT), queries)
    users = _side(tables.get("users"), USER_ID, log.users, as_of, schema, source.users)
    if "users" in tables and not users.num_rows:
        raise DataError(
            f"source.users: none of its {tables['users'].num_rows} rows was created before {as_of} "
            "or is a user of the interactions, so nobody would get a list. Is the table filled?"
        )
    pq.write_table(items, out.folder / "items.parquet", **PARQUET)
    pq.write_table(users, out.folder / "users.parquet", **PARQUET)
    out.summary = {
        "rows": len(log),
        "items": items.num_rows,
        "users": users.num_rows,
        "user_id_type": queries.user_id_type,
        "item_id_type": queries.item_id_type,
        "has_ratings": bool(source.rating),
        "has_events": bool(source.event),
        "digest": _digest(out.folder),
    }
    progress(1.0, f"{len(log):,} interactions")


def _side(
    table: pa.Table | None,
    key: str,
    in_log: pa.Array,
    as_of: datetime,
    schema: pa.Schema,
    settings: FeatureColumns,
) -> pa.Table:
    """Return the items or users that were known before ``as_of``, by id."""
    if table is None:
        return schema.empty_table()
    ids = table[key].cast(schema.field(key).type)
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        some = ", ".join(str(value) for value in sorted(twice.to_pylist())[:5])
        raise DataError(
            f"source.{'items' if key == ITEM_ID else 'users'}: expected one row per {key}. "
            f"Received: {len(twice)} ids with several rows, such as {some}"
        )
    in_log = in_log.cast(ids.type)
    created = pc.fill_null(pc.less(table[CREATED_AT], pa.scalar(as_of, INSTANT)), False)
    table = table.set_column(table.schema.get_field_index(key), key, ids)
    table = table.filter(pc.or_(created, pc.is_in(ids, value_set=in_log)))
    table = table.take(pc.sort_indices(table[key])).combine_chunks()
    columns = dict(zip(table.column_names, table.columns, strict=True)) | _features(table, settings)
    return pa.table({name: columns[name].cast(schema.field(name).type) for name in schema.names})


def _features(table: pa.Table, settings: FeatureColumns) -> dict[str, pa.Array]:
    """Return `columns.FEATURE_COLUMNS` of what the query gave."""

    def each(key: str, asked: tuple[str, ...]) -> list[pa.Array]:
        names = [column_name(key, place) for place in range(len(asked))]
        return [table[name].combine_chunks() for name in names]

    texts = [table[TEXT].cast(pa.string()).combine_chunks()]
    values = zip(settings.categories, each(CATEGORIES, settings.categories), strict=True)
    categories = {
        name: split_values(column.cast(pa.string()), JOINED_BY) for name, column in values
    }
    return feature_columns(texts, categories, each(NUMBERS, settings.numbers), len(table))


def _schema(columns: tuple[str, ...], queries: Queries) -> pa.Schema:
    types = {
        USER_ID: arrow_type(queries.user_id_type),
        ITEM_ID: arrow_type(queries.item_id_type),
        TS: INSTANT,
        CREATED_AT: INSTANT,
        RATING: pa.float32(),
        EVENT: pa.string(),
        TITLE: pa.string(),
        SEGMENT: pa.string(),
        **TYPES,
    }
    return pa.schema([(name, types.get(name, pa.bool_())) for name in columns])


def _digest(folder: Path) -> str:
    sums = "".join(file_sha256(folder / f"{name}.parquet") for name in _FILES)
    return hashlib.sha256(sums.encode()).hexdigest()
