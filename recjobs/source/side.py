"""The items or users of a snapshot: those that were known before ``as_of``, by id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import CATEGORIES, CREATED_AT, ITEM_ID, NUMBERS, TEXT
from recjobs.config import FeatureColumns
from recjobs.errors import DataError
from recjobs.featurize import feature_columns, split_values
from recjobs.source.features import JOINED_BY, column_name
from recjobs.source.wire import INSTANT


def known_before(
    as_of: datetime,
    table: pa.Table | None,
    key: str,
    in_log: Sequence[pa.Array],
    schema: pa.Schema,
    settings: FeatureColumns,
) -> pa.Table:
    """Return the items or users that were known before ``as_of``, by id.

    Args:
        as_of: Aware.
        table: What the query gave; None where none is configured.
        key: The column of the id.
        in_log: The ids of the interactions, in any order, some perhaps twice.
        schema: Of what is returned.
        settings: Their section, for the features.

    Raises:
        DataError: An id occurs twice.
    """
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
    met = pa.chunked_array([some.cast(ids.type) for some in in_log], ids.type)
    created = pc.fill_null(pc.less(table[CREATED_AT], pa.scalar(as_of, INSTANT)), False)
    table = table.set_column(table.schema.get_field_index(key), key, ids)
    table = table.filter(pc.or_(created, pc.is_in(ids, value_set=met)))
    table = table.take(pc.sort_indices(table[key])).combine_chunks()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    try:
        columns |= _features(table, settings)
        chosen = {name: columns[name].cast(schema.field(name).type) for name in schema.names}
    except pa.ArrowInvalid as error:  # an array of texts holds 2 GiB
        raise DataError(
            f"source.{'items' if key == ITEM_ID else 'users'}: expected at most 2 GiB of text, of "
            f"categories and of names of numbers in all. Received: {error}. Take fewer columns, or "
            "shorten them in a view"
        ) from error
    return pa.table(chosen)


def _features(table: pa.Table, settings: FeatureColumns) -> dict[str, pa.Array]:
    """Return `columns.FEATURE_COLUMNS` of what the query gave."""

    def each(key: str, asked: tuple[str, ...]) -> dict[str, pa.Array]:
        places = enumerate(asked)
        return {name: table[column_name(key, place)].combine_chunks() for place, name in places}

    texts = [table[TEXT].cast(pa.string()).combine_chunks()]
    categories = {
        name: split_values(column.cast(pa.string()), JOINED_BY)
        for name, column in each(CATEGORIES, settings.categories).items()
    }
    return feature_columns(texts, categories, each(NUMBERS, settings.numbers), len(table))
