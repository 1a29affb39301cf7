"""COPY BINARY off the wire: every type, nulls, rows that do not fit the buffer, errors."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2
import pyarrow as pa
import pytest

from recjobs import db
from recjobs.errors import ConfigError
from recjobs.source import wire

EVERY_TYPE = """
select * from (values
    (true, 1::bigint, -2::integer, 'é'::text, 1.5::real, -0.25::float8, timestamptz 'epoch'),
    (false, -9223372036854775808, 2147483647, '', 'NaN', 'infinity', timestamptz '2026-01-05 UTC'),
    (null, null, null, null, null, null, null)
) as all_types(b, l, i, t, r, d, at)
"""


@pytest.fixture
def connection(each_database: str) -> Iterator[db.PgConnection]:
    with db.connect(each_database) as connected:
        connected.set_client_encoding("UTF8")
        yield connected


def read(connection: db.PgConnection, query: str) -> pa.Table:
    return pa.Table.from_batches(list(wire.copied(connection, query)))


def test_every_type_and_null(connection: db.PgConnection) -> None:
    table = read(connection, EVERY_TYPE)
    types = [pa.bool_(), pa.int64(), pa.int32(), pa.string(), pa.float32(), pa.float64()]
    assert table.schema.types == [*types, wire.INSTANT]
    first, second, nothing = table.to_pylist()
    at = first.pop("at")
    assert (at.isoformat(), second["at"].day) == ("1970-01-01T00:00:00+00:00", 5)
    assert first == {"b": True, "l": 1, "i": -2, "t": "é", "r": 1.5, "d": -0.25}
    assert (second["l"], second["i"], second["t"], second["d"]) == (
        -(2**63),
        2**31 - 1,
        "",
        float("inf"),
    )
    assert str(second["r"]) == "nan"
    assert set(nothing.values()) == {None}


def test_infinities_are_the_ends_of_pythons_years(connection: db.PgConnection) -> None:
    table = read(connection, "select unnest(array['-infinity', 'infinity']::timestamptz[]) as at")
    assert [at.year for at in table["at"].to_pylist()] == [1, 9999]


def test_rows_may_be_longer_than_the_buffer(
    connection: db.PgConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_BUFFER_BYTES", 64)
    query = "select n::bigint, repeat('x', n * 7) as text from generate_series(1, 40) as n"
    batches = list(wire.copied(connection, query))
    assert len(batches) > 10
    table = pa.Table.from_batches(batches)
    assert table["n"].to_pylist() == list(range(1, 41))
    assert table["text"].to_pylist() == ["x" * 7 * n for n in range(1, 41)]
    # The first one comes with the header.
    for first in (64 - 19 - 18, 64 - 19, 1000):
        long = f"select repeat('x', {first}) as text union all select 'y'"
        assert read(connection, long)["text"].to_pylist() == ["x" * first, "y"]


def test_no_rows_and_then_another_query(connection: db.PgConnection) -> None:
    assert read(connection, "select 1::bigint as a where false").num_rows == 0
    assert read(connection, "select 2::bigint as a -- two").to_pylist() == [{"a": 2}]


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        (
            "select 1 / (n - 30000)::bigint as a from generate_series(1, 60000) as n",
            "DivisionByZero",
        ),
        ("select a from missing", "UndefinedTable"),
    ],
)
def test_errors_are_the_drivers(connection: db.PgConnection, query: str, kind: str) -> None:
    with pytest.raises(psycopg2.Error) as raised:
        read(connection, query)
    assert type(raised.value).__name__ == kind


def test_a_type_that_is_not_read_is_named(connection: db.PgConnection) -> None:
    with pytest.raises(ConfigError, match=r"column at: expected one of OIDs .* Received: 1083"):
        read(connection, "select time '12:00' as at")
