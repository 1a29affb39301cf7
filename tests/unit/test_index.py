"""Ids to dense indexes and back, for every id type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recjobs.columns import ID_TYPES, IdType
from recjobs.errors import DataError
from recjobs.index import UNKNOWN, Index, arrow_type

VALUES: dict[IdType, st.SearchStrategy[Any]] = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "uuid": st.uuids().map(str),
    # What Postgres can hold: no NUL, no surrogates; é decomposed and composed are two ids.
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
}


def ordered(id_type: IdType, ids: set[Any]) -> list[Any]:
    """The order of Postgres: numbers by value, everything else by its bytes (COLLATE "C")."""
    return sorted(ids) if "int" in id_type else sorted(ids, key=lambda text: text.encode())


@st.composite
def columns(draw: st.DrawFn) -> tuple[IdType, list[Any]]:
    id_type = draw(st.sampled_from(ID_TYPES))
    return id_type, draw(st.lists(VALUES[id_type], max_size=30))


@given(columns(), st.randoms())
def test_encode_and_decode_are_a_round_trip(column: tuple[IdType, list[Any]], rng: Any) -> None:
    id_type, ids = column
    array = pa.array(ids, arrow_type(id_type))
    index = Index.of(id_type, array)
    assert index.ids.to_pylist() == ordered(id_type, set(ids))
    encoded = index.encode(array)
    assert encoded.dtype == np.int32
    assert index.decode(encoded).to_pylist() == ids
    # The same set in any order, in any chunks, gives the same index.
    shuffled = list(ids)
    rng.shuffle(shuffled)
    cut = len(ids) // 2
    parts = pa.chunked_array([shuffled[:cut], shuffled[cut:]], arrow_type(id_type))
    assert Index.of(id_type, parts).ids.equals(index.ids)
    assert index.encode(parts).tolist() == [index.ids.to_pylist().index(i) for i in shuffled]


@given(columns(), st.data())
def test_what_is_not_in_the_index_is_unknown(
    column: tuple[IdType, list[Any]], data: st.DataObject
) -> None:
    id_type, ids = column
    index = Index.of(id_type, pa.array(ids, arrow_type(id_type)))
    asked = data.draw(st.lists(st.none() | VALUES[id_type] | st.sampled_from([*ids, None])))
    encoded = index.encode(pa.array(asked, arrow_type(id_type)))
    assert [i == UNKNOWN for i in encoded] == [a not in ids for a in asked]
    assert index.decode(encoded).to_pylist() == [a if a in ids else None for a in asked]


@settings(max_examples=20)
@given(columns())
def test_save_and_load(tmp_path_factory: pytest.TempPathFactory, column: Any) -> None:
    id_type, ids = column
    path: Path = tmp_path_factory.mktemp("index") / "users.parquet"
    index = Index.of(id_type, pa.array(ids, arrow_type(id_type)))
    index.save(path)
    loaded = Index.load(path)
    assert loaded.id_type == id_type
    assert loaded.ids.equals(index.ids)


def test_an_id_beyond_the_type_is_unknown() -> None:
    index = Index.of("integer", pa.array([1, 2], pa.int32()))
    assert index.encode(pa.array([2, 2**40, -(2**40)], pa.int64())).tolist() == [1, -1, -1]


def test_two_columns_share_one_index() -> None:
    index = Index.of("bigint", pa.array([5, 1]), pa.chunked_array([[], [3, 5]], pa.int64()))
    assert index.ids.to_pylist() == [1, 3, 5]
    assert len(index) == 3


def test_texts_in_chunks_are_those_of_one_column() -> None:
    chunks = pa.chunked_array([["b", None, "d"], [], ["a", "b", "x"]], pa.string())
    index = Index.of("text", chunks.drop_null(), pa.array(["c"]))
    assert index.ids.to_pylist() == ["a", "b", "c", "d", "x"]
    assert index.encode(chunks).tolist() == [1, UNKNOWN, 3, 0, 1, 4]
    assert index.encode(chunks.combine_chunks()).tolist() == index.encode(chunks).tolist()
    assert index.encode(pa.chunked_array([], pa.string())).tolist() == []


def test_negative_indexes_decode_to_null() -> None:
    index = Index.of("text", pa.array(["b", "a"]))
    assert index.decode([1, -1, 0]).to_pylist() == ["b", None, "a"]
    assert index.decode(np.array([], dtype=np.int32)).to_pylist() == []


@pytest.mark.parametrize(
    ("ids", "id_type", "message"),
    [
        (pa.array([1, 2], pa.int64()), "numeric", "Received: 'numeric'"),
        (pa.array([1, 2], pa.int32()), "bigint", "expected int64. Received: int32"),
        (pa.array([1, None], pa.int64()), "bigint", "expected no nulls. Received: 1"),
        (pa.array([2, 1], pa.int64()), "bigint", "ascending"),
        (pa.array([1, 1], pa.int64()), "bigint", "distinct"),
    ],
)
def test_an_index_is_validated(ids: pa.Array, id_type: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Index(ids, id_type)


def test_a_file_that_is_no_index_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pa.parquet.write_table(pa.table({"id": [1, 2]}), path)
    with pytest.raises(DataError, match="id type"):
        Index.load(path)


@pytest.mark.parametrize("id_type", ["integer", "bigint"])
def test_a_long_column_of_ids_close_together(id_type: IdType) -> None:
    index = Index.of(id_type, pa.array([-3, 5, 6, 40], arrow_type(id_type)))
    asked = [None, -4, -3, 0, 5, 6, 39, 40, 41, 2**31 - 1, -(2**31)] * 10
    if id_type == "bigint":
        asked += [2**63 - 1, -(2**63)]
    column = pa.chunked_array([pa.array(asked), pa.array([5, 40])])
    expected = [{-3: 0, 5: 1, 6: 2, 40: 3}.get(value, UNKNOWN) for value in [*asked, 5, 40]]  # type: ignore[arg-type]
    assert index.encode(column).tolist() == expected
    assert index.encode(column.combine_chunks()).tolist() == expected
