"""Arrow columns come back from Postgres as they went in."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql
from psycopg2.extras import register_uuid

from recjobs import db
from recjobs.copy_binary import copy_in, encode
from recjobs.copy_fields import OIDS
from recjobs.errors import DatabaseError, DataError

ARROW = {
    "boolean": pa.bool_(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "text": pa.string(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "uuid": pa.string(),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "boolean": st.booleans(),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "real": st.floats(width=32, allow_nan=False),
    "double precision": st.floats(allow_nan=False),
    "uuid": st.uuids().map(str),
}


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    columns: dict[str, st.SearchStrategy[Any]] = {}
    for type_, values in VALUES.items():
        columns[type_] = st.none() | values
        columns[f"{type_}[]"] = st.none() | st.lists(st.none() | values, max_size=4)
    return st.lists(st.fixed_dictionaries(columns), max_size=6)


def arrow(type_: str) -> pa.DataType:
    base = ARROW[type_.removesuffix("[]")]
    return pa.list_(base) if type_.endswith("[]") else base


def plain(value: Any) -> Any:
    if isinstance(value, list):
        return [plain(element) for element in value]
    return str(value) if isinstance(value, uuid.UUID) else value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rows=rows(), cut=st.integers(0, 6))
def test_every_type_with_nulls_and_lists_round_trips(
    database: str, rows: list[dict[str, Any]], cut: int
) -> None:
    types = {type_: type_ for type_ in (*VALUES, *(f"{type_}[]" for type_ in VALUES))}
    table = pa.table({n: pa.array([row[n] for row in rows], arrow(n)) for n in types})
    # Slices have offsets of their own: the encoder must not take them for whole arrays.
    batches = [part for batch in table.to_batches() for part in (batch[:cut], batch[cut:])]
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(type_))
        for name, type_ in types.items()
    )
    with db.connect(database) as connection:
        register_uuid(conn_or_curs=connection)
        db.execute(
            connection, sql.SQL("drop table if exists t; create table t ({})").format(columns)
        )
        assert copy_in(connection, sql.Identifier("t"), types, batches) == len(rows)
        found = db.execute(connection, sql.SQL("select * from t"))
    columns_found = ([plain(row[i]) for row in found] for i in range(len(types)))
    read = zip(types, columns_found, strict=True)
    assert pa.table({name: pa.array(values, arrow(name)) for name, values in read}) == table


def test_nothing_to_write_writes_nothing(database: str) -> None:
    with db.connect(database) as connection:
        db.execute(connection, sql.SQL("create table t (a bigint)"))
        assert copy_in(connection, sql.Identifier("t"), {"a": "bigint"}, []) == 0


def test_a_row_is_what_the_format_says() -> None:
    batch = pa.record_batch({"a": pa.array([7]), "b": pa.array([["x", None]])})
    expected = struct.pack(">hiq", 2, 8, 7)  # two fields; eight bytes, the number
    array = struct.pack(">iiiii", 1, 1, OIDS["text"], 2, 1) + struct.pack(">i1si", 1, b"x", -1)
    expected += struct.pack(">i", len(array)) + array
    assert bytes(encode(batch, {"a": "bigint", "b": "text[]"})) == expected


def test_the_servers_numbers_of_types_are_as_we_say(database: str) -> None:
    with db.connect(database) as connection:
        for type_, oid in OIDS.items():
            asked = sql.SQL("select %(type)s::regtype::oid")
            assert db.execute(connection, asked, {"type": type_}) == [(oid,)]


@pytest.mark.parametrize(
    "bad", ["0" * 36, "é" * 18, "12345678-1234-1234-1234-12345678901g", "1234"]
)
def test_what_is_no_uuid_is_refused(bad: str) -> None:
    batch = pa.record_batch({"a": pa.array([bad])})
    with pytest.raises(DataError, match="uuid"):
        encode(batch, {"a": "uuid"})


def test_what_is_refused_while_it_is_copied_is_the_same_error(database: str) -> None:
    def write() -> None:
        with db.connect(database) as connection:
            db.execute(connection, sql.SQL("create table t (a uuid)"))
            batch = pa.record_batch({"a": pa.array(["1234"])})
            copy_in(connection, sql.Identifier("t"), {"a": "uuid"}, [batch])

    with pytest.raises(DataError, match="uuid"):
        write()


def test_a_server_that_refuses_a_value_says_so(database: str) -> None:
    def write() -> None:
        with db.connect(database) as connection:
            db.execute(connection, sql.SQL("create table t (a bigint not null)"))
            batch = pa.record_batch({"a": pa.array([None], pa.int64())})
            copy_in(connection, sql.Identifier("t"), {"a": "bigint"}, [batch])

    with pytest.raises(DatabaseError, match="null value"):
        write()
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass('t')")
        assert cursor.fetchone() == (None,)
    connection.close()
