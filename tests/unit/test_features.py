"""Features: what a table of any shape says of each row of an index."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recjobs.errors import DataError
from recjobs.features import NO_FEATURES, Features
from recjobs.featurize import from_table
from recjobs.index import Index

INDEX = Index.of("bigint", pa.array([1, 2, 3, 9]))


def tokens_of(features: Features, row: int) -> list[str]:
    own = features.token_idx[features.indptr[row] : features.indptr[row + 1]]
    return [features.tokens[token] for token in own]


def test_a_table_is_understood_by_type_and_content() -> None:
    table = pa.table(
        {
            "item_id": [3, 1, 7, 2],
            "title": ["Alien (1979)", None, "Dune", "Brazil"],
            "genres": ["Horror|Sci-Fi", " Drama ||Drama", "Other", None],
            "cast": pa.array([["Tom", "Ian"], [], ["Sting"], None]),
            "country": ["US", None, "US", "GB"],
            "year": pa.array([1979, None, 1984, 1985], pa.int16()),
            "released": pa.array([date(1970, 1, 3), None, None, date(1969, 12, 31)]),
            "in_print": [True, None, False, False],
            "empty": pa.nulls(4, pa.string()),
        }
    )
    found = from_table(table, INDEX)
    assert found.text.to_pylist() == ["", "Brazil", "Alien (1979)", ""]
    assert tokens_of(found, 0) == ["genres=Drama"]
    assert tokens_of(found, 1) == ["country=GB", "in_print=false"]
    assert tokens_of(found, 2) == [
        "cast=Ian", "cast=Tom", "country=US", "genres=Horror", "genres=Sci-Fi", "in_print=true",
    ]  # fmt: skip
    assert tokens_of(found, 3) == []
    assert list(found.tokens) == sorted(found.tokens)  # and none of the item outside the index
    np.testing.assert_array_equal(
        found.numbers, np.float32([[np.nan] * 2, [1985, -1], [1979, 2], [np.nan] * 2])
    )
    assert found.number_names == ("year", "released")
    assert found.given.tolist() == [True, True, True, False]


def test_how_a_column_is_encoded_changes_nothing() -> None:
    """A dictionary is what pandas and Polars make of categories; Polars' strings are views."""
    plain = {
        "title": pa.array(["A tale", "b", None]),
        "genre": pa.array(["drama", None, "comedy"]),
        "code": pa.array(["12", "7", "12"]),
        "cast": pa.array([["12"], None, ["7", "8"]]),
        "year": pa.array([1979, None, 1984]),
    }
    expected = from_table(pa.table({"item_id": [1, 2, 3], **plain}), INDEX)
    assert "code=12" in expected.tokens
    dictionary, views = pa.dictionary(pa.int32(), pa.string()), pa.string_view()
    for text in (dictionary, views, pa.dictionary(pa.int8(), pa.large_string())):
        types = {"title": text, "genre": text, "code": text, "cast": pa.list_(text)}
        encoded = {name: pa.array(plain[name].to_pylist(), types[name]) for name in types}
        encoded["year"] = plain["year"].dictionary_encode()
        found = from_table(pa.table({"item_id": [1, 2, 3], **encoded}), INDEX)
        assert (found.text, found.tokens) == (expected.text, expected.tokens)
        assert [tokens_of(found, row) for row in range(4)] == [
            tokens_of(expected, row) for row in range(4)
        ]
        np.testing.assert_array_equal(found.numbers, expected.numbers)


def test_infinite_numbers_are_unknown() -> None:
    found = from_table(pa.table({"user_id": [1, 2], "x": [np.inf, 1e300]}), INDEX)
    assert np.isnan(found.numbers).all()
    assert not found.given.any()


def test_a_table_without_ids_or_with_an_id_twice_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected a column item_id or user_id. Received: id, x"):
        from_table(pa.table({"id": [1], "x": [1]}), INDEX)
    with pytest.raises(DataError, match=r"one row per item_id. Received: an id with several rows"):
        from_table(pa.table({"item_id": [1, 1], "x": [1, 2]}), INDEX)


def test_rows_must_agree() -> None:
    with pytest.raises(DataError, match=r"expected 1 rows .* Received: 0 nulls, 0 rows of cate"):
        Features(
            pa.array([""]), (), NO_FEATURES.indptr, NO_FEATURES.token_idx, (), np.zeros((1, 0))
        )


values = st.text("ab |é\n", max_size=4) | st.none()


@given(st.lists(st.tuples(values, st.lists(values, max_size=3), st.none() | st.floats(width=32))))
def test_saved_and_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, list[str | None], float | None]],
) -> None:
    index = Index.of("bigint", pa.array(range(len(rows) + 1), pa.int64()))
    table = pa.table(
        {
            "item_id": pa.array(range(len(rows)), pa.int64()),
            "note": pa.array([row[0] for row in rows], pa.string()),
            "tags": pa.array([row[1] for row in rows], pa.list_(pa.string())),
            "price": pa.array([row[2] for row in rows], pa.float32()),
        }
    )
    made = from_table(table, index)
    path: Path = tmp_path_factory.mktemp("features") / "features.parquet"
    made.save(path)
    loaded = Features.load(path)
    for row, (_, tags, _) in enumerate(rows):
        expected = sorted({f"tags={tag.strip()}" for tag in tags if tag and tag.strip()})
        assert [token for token in tokens_of(made, row) if token.startswith("tags")] == expected
    assert loaded.text.equals(made.text)
    assert loaded.tokens == made.tokens
    assert loaded.number_names == made.number_names
    for name in ("indptr", "token_idx", "numbers", "given"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))


def test_no_features_survive_saving(tmp_path: Path) -> None:
    NO_FEATURES.save(tmp_path / "none.parquet")
    assert len(Features.load(tmp_path / "none.parquet")) == 0
