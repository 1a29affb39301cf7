"""The stage `extract` against a real server: every type, every refusal, the same bytes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from recjobs import db
from recjobs.artifacts import StageOutput
from recjobs.config import SourceSettings, UserSource
from recjobs.dataset import Interactions
from recjobs.errors import ConfigError, DatabaseError, DataError
from recjobs.extract import extract
from recjobs.snapshot import read_snapshot
from recjobs.source import id_types, plan, read
from servers import PLAIN, Server

AS_OF = datetime(2016, 10, 17, tzinfo=UTC)
UUIDS = ("0A000000-0000-0000-0000-00000000000b", "0b000000-0000-0000-0000-00000000000A")

#: SQL type of the column; three values in it; the type and the values that should come out.
ID_TYPES = {
    "bigint": ("bigint", (2**40, 7), "bigint", pa.int64(), (2**40, 7)),
    "integer": ("integer", (2**30, 7), "integer", pa.int32(), (2**30, 7)),
    "smallint": ("smallint", (3, 7), "integer", pa.int32(), (3, 7)),
    "uuid": ("uuid", UUIDS, "uuid", pa.string(), tuple(u.lower() for u in UUIDS)),
    "text": ("text", ("B é", "a"), "text", pa.string(), ("B é", "a")),
    "varchar": ("varchar(9)", ("B", "a"), "text", pa.string(), ("B", "a")),
    "domain": ("account_id", (8, 9), "bigint", pa.int64(), (8, 9)),
}

#: SQL type of the time; settings; 2016-10-15 12:00 UTC in it; values that are not before AS_OF.
PARIS = {"source_timezone": "Europe/Paris"}
TIMES: dict[str, tuple[str, dict[str, Any], object, list[object]]] = {
    "timestamptz": ("timestamptz", {}, "2016-10-15 14:00+02", ["2016-10-17 00:00+00", "infinity"]),
    "timestamp": ("timestamp", PARIS, "2016-10-15 14:00", ["2016-10-17 02:00", "infinity"]),
    "date": ("date", {}, "2016-10-15", ["2016-10-17", "2016-10-18", "infinity"]),
    "epoch s": ("integer", {"time_unit": "s"}, 1476532800, [1476662400, 2**31 - 1]),
    "epoch ms": ("bigint", {"time_unit": "ms"}, 1476532800000, [1476662400000, 2**63 - 1]),
}


def run(dsn: str, *statements: str, **params: Any) -> list[tuple[Any, ...]]:
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, params or None)
        rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


def snapshot(
    dsn: str, folder: Path, source: SourceSettings, as_of: datetime = AS_OF, **kwargs: Any
) -> StageOutput:
    folder.mkdir(parents=True, exist_ok=True)
    out = StageOutput(folder)
    extract(source, as_of, out, dsn=dsn, **kwargs)
    return out


def rows_of(out: StageOutput, name: str = "interactions") -> list[dict[str, Any]]:
    return list(pq.read_table(out.folder / f"{name}.parquet").to_pylist())


RATINGS = SourceSettings(
    table="ratings",
    rating="stars",
    event="kind",
    items={"table": "movies", "title": "title", "created_at": "added", "available": "on_sale"},
    users={"table": "people", "created_at": "joined", "active": "active"},
)  # type: ignore[arg-type]  # pydantic makes the sections


@pytest.fixture
def shop(database: str) -> str:
    run(
        database,
        """
        create table people (user_id bigint primary key, joined timestamptz, active boolean);
        create table movies (
            item_id text primary key, title text, added timestamptz, on_sale boolean);
        create table ratings (
            user_id bigint, item_id text, ts timestamptz, stars numeric(2, 1), kind text);
        insert into people values (1, '2015-01-01', true), (2, '2015-01-01', false),
            (3, null, null), (4, null, true), (5, '2016-10-17', true), (6, '2016-01-01', null);
        insert into movies values ('a', 'Alien', null, true), ('b', 'Brazil', '2030-01-01', null),
            ('c', 'Casablanca', '2016-10-16', false), ('d', 'Dune', '2016-10-17', true),
            ('e', 'Eraserhead', null, true);
        insert into ratings values
            (1, 'a', '2016-10-16 12:00+00', 4.5, 'view'), (2, 'b', '2016-10-16 11:00+00', 3, 'buy'),
            (1, 'b', '2016-10-16 12:00+00', null, null), (3, 'a', '2016-10-17 00:00+00', 1, 'view');
        """,
    )
    return database


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_every_id_type_and_time_type(each_database: str, tmp_path: Path, id_type: str) -> None:
    sql_type, values, expected_type, arrow, expected = ID_TYPES[id_type]
    run(each_database, "create domain account_id as bigint check (value > 0)")
    schema = pa.schema(
        [("user_id", arrow), ("item_id", arrow), ("ts", pa.timestamp("us", "UTC")),
         ("rating", pa.float32()), ("event", pa.string())]
    )  # fmt: skip
    for time, (time_type, settings, moment, later) in TIMES.items():
        name = f"log in {time}"
        run(each_database, f'create table "{name}" (u {sql_type}, i {sql_type}, at {time_type})')
        for instant in [moment, *later]:
            insert = f'insert into "{name}" values (%(u)s, %(i)s, %(t)s), (null, %(u)s, null)'
            run(each_database, insert, u=values[0], i=values[1], t=instant)
        source = SourceSettings(table=name, user_id="u", item_id="i", time="at", **settings)

        out = snapshot(each_database, tmp_path / time, source)

        assert out.summary["user_id_type"] == out.summary["item_id_type"] == expected_type
        assert id_types(source, each_database) == (expected_type, expected_type)
        table = pq.read_table(out.folder / "interactions.parquet")
        assert table.schema == schema
        first, *others = table.to_pylist()
        assert (first["user_id"], first["item_id"]) == expected
        assert first["ts"] == datetime(2016, 10, 15, 0 if time == "date" else 12, tzinfo=UTC)
        # Nulls pass through, to be set aside by name; what lies at or after as_of does not.
        nulls = [(row["user_id"], row["ts"]) for row in others]
        assert nulls == [(None, None)] * (1 + len(later)), time


@pytest.mark.parametrize("not_null", [True, False])
@pytest.mark.parametrize("time", TIMES)
def test_an_index_on_the_time_serves(database: str, time: str, not_null: bool) -> None:
    time_type, settings, _, _ = TIMES[time]
    day = "timestamptz '2016-10-01 00:00+00' + n * interval '1 hour'"
    epoch = f"extract(epoch from {day})::bigint * {1000 if time == 'epoch ms' else 1}"
    value = f"({epoch if time.startswith('epoch') else day})::{time_type}"
    null = "not null" if not_null else ""
    run(
        database,
        f"create table log (user_id int, item_id int, ts {time_type} {null})",
        f"insert into log select n, n, {value} from generate_series(1, 20000) n",
        "create index log_ts on log (ts)",
        "analyze log",
    )
    with db.connect(database) as connection:
        queries = plan(connection, SourceSettings(table="log", **settings), AS_OF)
    [*lines] = (line for (line,) in run(database, f"explain {queries.interactions}"))
    assert any("log_ts" in line for line in lines), "\n".join(lines)
    assert 100 < queries.expected_rows < 2000  # 16 days of 20,000 hours


def test_what_is_read_of_ratings_events_items_and_users(shop: str, tmp_path: Path) -> None:
    out = snapshot(shop, tmp_path, RATINGS)

    early, late = datetime(2016, 10, 16, 11, tzinfo=UTC), datetime(2016, 10, 16, 12, tzinfo=UTC)
    assert [tuple(row.values()) for row in rows_of(out)] == [
        (2, "b", early, 3.0, "buy"),
        (1, "a", late, 4.5, "view"),
        (1, "b", late, None, None),
    ]
    # `b` is kept for its interaction, `c` for its creation; nobody knew `d` and `e` yet.
    assert [(r["item_id"], r["title"], r["available"]) for r in rows_of(out, "items")] == [
        ("a", "Alien", True),
        ("b", "Brazil", True),
        ("c", "Casablanca", False),
    ]
    users = [(r["user_id"], r["active"]) for r in rows_of(out, "users")]
    assert users == [(1, True), (2, False), (6, True)]
    digest = out.summary.pop("digest")
    assert len(digest) == 64
    assert out.summary.pop("parts") is None
    assert out.summary == {
        "rows": 3, "items": 3, "users": 3, "user_id_type": "bigint", "item_id_type": "text",
        "has_ratings": True, "has_events": True,
    }  # fmt: skip


def test_without_items_users_ratings_or_events(shop: str, tmp_path: Path) -> None:
    out = snapshot(shop, tmp_path, SourceSettings(table="ratings"))
    assert rows_of(out, "items") == rows_of(out, "users") == []
    assert {(r["rating"], r["event"]) for r in rows_of(out)} == {(None, None)}
    assert (out.summary["has_ratings"], out.summary["has_events"]) == (False, False)


LATER = {
    "future rows": """
        insert into ratings values (7, 'z', '2016-10-17', 5, 'x'), (1, 'a', '2020-01-01', 1, 'x');
        insert into movies values ('z', 'Zelig', '2016-10-17', true), ('y', 'Yi Yi', null, true);
        insert into people values (7, '2016-10-17', true), (8, null, true)""",
    "rows rewritten in another order": """
        create table copy as select * from ratings order by random(); truncate ratings;
        insert into ratings select * from copy""",
    "rows updated to what they were": """
        update ratings set stars = stars; update movies set title = title""",
    "another physical layout": """
        alter table ratings alter item_id type varchar(10); vacuum full ratings""",
}


@pytest.mark.parametrize("change", LATER)
def test_the_same_rows_give_the_same_bytes(shop: str, tmp_path: Path, change: str) -> None:
    # Ties down to the event, and equal rows: only a total order gives the same bytes.
    run(
        shop,
        """
        insert into ratings select n % 3, case n % 2 when 0 then 'a' else 'b' end,
            timestamptz '2016-10-01' + n % 5 * interval '1 day', nullif(n % 4, 0),
            case n % 7 when 0 then null when 1 then 'view' else 'buy' end
        from generate_series(1, 2000) n""",
    )
    before = snapshot(shop, tmp_path / "before", RATINGS)
    with db.connect(shop, autocommit=True) as connection:
        for statement in LATER[change].split(";"):
            connection.cursor().execute(statement)
    after = snapshot(shop, tmp_path / "after", RATINGS)

    for name in ("interactions", "items", "users"):
        first, second = ((o.folder / f"{name}.parquet").read_bytes() for o in (before, after))
        assert first == second, name
    assert before.summary == after.summary
    key = ("ts", "user_id", "item_id", "rating", "event")
    rows = [tuple((r[name] is None, r[name]) for name in key) for r in rows_of(before)]
    assert rows == sorted(rows)


@pytest.mark.parametrize("local", ["2016-10-30 01:30", "2016-10-30 02:30", "2016-10-30 03:30"])
@pytest.mark.parametrize("utc", [(30, 0, 0), (30, 0, 30), (30, 1, 0), (30, 1, 30), (30, 3, 0)])
def test_where_clocks_go_back_no_row_is_at_or_after_as_of(
    database: str, tmp_path: Path, local: str, utc: tuple[int, int, int]
) -> None:
    as_of = datetime(2016, 10, *utc, tzinfo=UTC)
    run(
        database,
        "create table log (user_id int, item_id int, ts timestamp)",
        "insert into log values (1, 1, %(ts)s)",
        ts=local,
    )
    out = snapshot(database, tmp_path, SourceSettings(table="log", **PARIS), as_of)
    # Postgres reads the hour that comes twice as winter time.
    instant = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Paris"), fold=1)
    expected = [instant.astimezone(UTC)] if instant < as_of else []
    assert [row["ts"] for row in rows_of(out)] == expected


@pytest.mark.parametrize(
    ("sql_type", "settings", "value"),
    [
        ("timestamptz", {}, "-infinity"),
        ("timestamptz", {}, "0044-03-15 BC"),
        ("timestamp", PARIS, "-infinity"),
        ("date", {}, "-infinity"),
        ("bigint", {"time_unit": "s"}, -(2**63)),
        ("bigint", {"time_unit": "ms"}, -(2**63)),
    ],
)
def test_absurd_times_survive_as_absurd_times(
    database: str, tmp_path: Path, sql_type: str, settings: dict[str, Any], value: object
) -> None:
    run(
        database,
        f"create table log (user_id int, item_id int, ts {sql_type})",
        "insert into log values (1, 1, %(ts)s)",
        ts=value,
    )
    [row] = rows_of(snapshot(database, tmp_path, SourceSettings(table="log", **settings)))
    assert row["ts"].year == 1


def test_ratings_that_no_float_holds_become_not_finite(database: str, tmp_path: Path) -> None:
    run(
        database,
        "create table log (user_id int, item_id int, ts date, r numeric)",
        "insert into log values (1, 1, '2016-01-01', 'NaN'), (1, 2, '2016-01-01', 1e300),"
        " (1, 3, '2016-01-01', 1e400), (1, 4, '2016-01-01', -1e400), (1, 5, '2016-01-01', 1e-400),"
        " (1, 6, '2016-01-01', -4.5), (1, 7, '2016-01-01', null)",
        "create table movies (item_id int, price numeric)",
        "insert into movies values (1, 1e400), (2, 'NaN'), (3, 1e-400), (4, 9.5)",
    )
    items = {"table": "movies", "numbers": ["price"]}
    out = snapshot(database, tmp_path, SourceSettings(table="log", rating="r", items=items))  # type: ignore[arg-type]
    ratings = [str(row["rating"]) for row in rows_of(out)]
    assert ratings == ["nan", "inf", "inf", "-inf", "0.0", "-4.5", "None"]
    prices = [row["numbers"][0]["value"] for row in rows_of(out, "items")]
    assert prices == [None, None, 0.0, 9.5]


@pytest.mark.parametrize(
    ("sql_type", "named"),
    [("numeric", "numeric"), ("char(3)", "character"), ("citext", "citext"), ("date", "date")],
)
def test_other_id_types_are_refused_by_name(
    database: str, tmp_path: Path, sql_type: str, named: str
) -> None:
    if sql_type == "citext":
        run(database, "create extension citext")
    run(database, f"create table log (user_id bigint, item_id {sql_type}, ts timestamptz)")
    with pytest.raises(ConfigError, match=rf"source.item_id: .*Received: {named}, column item_id"):
        snapshot(database, tmp_path, SourceSettings(table="log"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "rating"}, r"no table 'rating' \(did you mean 'ratings'\?\). It has: movies, p"),
        ({"table": "app.ratings"}, "no table 'app.ratings'"),
        ({"user_id": "User_Id"}, r"no column 'User_Id' \(did you mean 'user_id'\?\). Its colu"),
        ({"time": "at"}, r"source.time: table ratings has no column 'at'.*ts, stars, kind"),
        ({"time": "kind"}, "source.time: column kind of table ratings is text. Expected times"),
        ({"time": "user_id"}, "source.time: column user_id .* is bigint, so source.time_unit must"),
        ({"rating": "kind"}, "source.rating: expected a number.*Received: text, column kind"),
        ({"items": {"table": "movie"}}, "source.items.table: the database has no table 'movie'"),
        ({"items": {"table": "movies", "available": "title"}}, "expected a boolean.*available_sql"),
        ({"items": {"table": "movies", "available_sql": "price > 0"}}, 'source.items: .*"price"'),
        ({"items": {"table": "people", "item_id": "user_id"}}, "expected ids like .*, text. R"),
        ({"users": {"table": "people", "active": "joined"}}, "source.users.active: expected a "),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_named(
    shop: str, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        snapshot(shop, tmp_path, SourceSettings(**{"table": "ratings", **changes}))


def test_a_timestamp_needs_its_time_zone(database: str, tmp_path: Path) -> None:
    run(database, "create table log (user_id int, item_id int, ts timestamp)")
    with pytest.raises(ConfigError, match=r"source.source_timezone must say"):
        snapshot(database, tmp_path, SourceSettings(table="log"))


def test_an_sql_file_is_wrapped(shop: str, tmp_path: Path) -> None:
    path = tmp_path / "loved.sql"
    path.write_text("select user_id, item_id, ts, 'a%b' as kind from ratings -- {all} of % them;\n")
    out = snapshot(shop, tmp_path / "run", SourceSettings(sql_file=str(path), event="kind"))
    assert [row["event"] for row in rows_of(out)] == ["a%b"] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("select * from nowhere", "loved.sql does not run: .*nowhere"),
        ("selec", "loved.sql does not run: syntax error"),
        ("select user_id, item_id, item_id from ratings", "gives two columns the name 'item_id'"),
        ("select user_id, item_id from ratings", "SQL file loved.sql has no column 'ts'"),
    ],
)
def test_an_sql_file_that_does_not_fit(shop: str, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "loved.sql"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        snapshot(shop, tmp_path / "run", SourceSettings(sql_file=str(path)))


def test_a_value_that_the_files_sql_can_not_cast(shop: str, tmp_path: Path) -> None:
    path = tmp_path / "loved.sql"
    path.write_text("select user_id, item_id, ts, kind::float8 as stars from ratings")
    with pytest.raises(DataError, match="a row of the source can't be read"):
        snapshot(shop, tmp_path / "run", SourceSettings(sql_file=str(path), rating="stars"))


def test_an_item_or_user_twice_is_refused_by_name(shop: str, tmp_path: Path) -> None:
    run(
        shop,
        "alter table movies drop constraint movies_pkey",
        "insert into movies values ('c', 'Again'), ('a', 'Again')",
    )
    with pytest.raises(DataError, match=r"source.items: .*2 ids with several rows, such as a, c"):
        snapshot(shop, tmp_path, RATINGS)


def test_a_users_table_without_anyone_stops(shop: str, tmp_path: Path) -> None:
    run(shop, "truncate people")
    with pytest.raises(DataError, match=r"source.users: expected a row for each user.*none"):
        snapshot(shop, tmp_path, RATINGS)


def test_users_that_are_nobody_in_the_interactions(shop: str, tmp_path: Path) -> None:
    run(shop, "update people set user_id = user_id + 100, joined = null")
    with pytest.raises(DataError, match=r"6 rows was created before 2016-10-17.* or is a user of"):
        snapshot(shop, tmp_path, RATINGS)
    ageless = RATINGS.model_copy(update={"users": UserSource(table="people")})
    with pytest.raises(DataError, match=r"none of its 6 rows is a user of the interactions"):
        snapshot(shop, tmp_path, ageless)


def test_no_interactions_are_not_blamed_on_the_users(shop: str, tmp_path: Path) -> None:
    run(shop, "update people set joined = null", "truncate ratings")
    assert snapshot(shop, tmp_path, RATINGS).summary["rows"] == 0  # `validate` tells of it


def test_an_items_table_without_a_row_stops(shop: str, tmp_path: Path) -> None:
    run(shop, "truncate movies")
    with pytest.raises(DataError, match=r"source.items: expected a row for each item.*none"):
        snapshot(shop, tmp_path, RATINGS)


def test_availability_by_sql_and_ids_of_two_widths(shop: str, tmp_path: Path) -> None:
    run(
        shop,
        "create table stock (item_id int, pieces int)",
        "insert into stock values (1, 0), (2, 3), (3, null)",
        "create table sales (user_id int, item_id bigint, ts date)",
        "insert into sales select 1, n, '2016-01-01' from generate_series(1, 3) n",
    )
    items = {"table": "stock", "available_sql": "pieces > 0 -- {in} % stock"}
    out = snapshot(shop, tmp_path, SourceSettings(table="sales", items=items))
    assert [(r["item_id"], r["available"]) for r in rows_of(out, "items")] == [
        (1, False), (2, True), (3, True),
    ]  # fmt: skip
    assert out.summary["item_id_type"] == "bigint"


def test_all_three_tables_are_of_one_moment(shop: str, tmp_path: Path) -> None:
    changed = False

    def change_once(done: float, note: str = "") -> None:
        nonlocal changed
        if not changed and note.endswith("read"):
            changed = True
            run(shop, "update movies set title = 'changed'; delete from people")

    out = snapshot(shop, tmp_path, RATINGS, progress=change_once)
    assert changed
    assert [row["title"] for row in rows_of(out, "items")] == ["Alien", "Brazil", "Casablanca"]
    assert len(rows_of(out, "users")) == 3


CONFLICT = """
    create table replayed (done boolean);
    create function conflicting() returns text language plpgsql as $$ begin
        if not exists (select from replayed) then
            raise exception 'canceling statement due to conflict with recovery'
                using errcode = '40001';
        end if;
        return 'x';
    end $$;
    create view conflict as select user_id, item_id, ts, conflicting() as kind from ratings"""


def test_a_replicas_cancel_is_tried_again(
    shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(shop, CONFLICT)
    monkeypatch.setattr(read, "_FIRST_PAUSE_SECONDS", 0.0)
    source = SourceSettings(table="conflict", event="kind")
    with pytest.raises(DatabaseError, match=r"the reading 5 times: .*conflict with recov"):
        snapshot(shop, tmp_path, source)

    notes: list[str] = []

    def end_the_conflict(done: float, note: str = "") -> None:
        notes.append(note)
        if "attempt 3" in note:
            run(shop, "insert into replayed values (true)")

    out = snapshot(shop, tmp_path, source, progress=end_the_conflict)
    assert notes[:2] == [f"cancelled by the source, attempt {n} of 5" for n in (2, 3)]
    assert len(rows_of(out)) == 3


def test_a_lost_connection_is_worth_a_retry(shop: str, tmp_path: Path) -> None:
    run(
        shop,
        "create function gone() returns text language sql volatile as "
        "'select pg_terminate_backend(pg_backend_pid())::text'",
        "create view lost as select user_id, item_id, ts, gone() as kind from ratings",
    )
    with pytest.raises(DatabaseError, match="reading the source failed"):
        snapshot(shop, tmp_path, SourceSettings(table="lost", event="kind"))


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://app:s3cret@127.0.0.1:1/shop", DatabaseError),
        ("host=/nowhere user=app password=s3cret", DatabaseError),
        ("app:s3cret", ConfigError),
        ("postgresql://app:pa@s3cret@localhost/shop", DatabaseError),
        ("postgresql://app:1/s3cret@localhost/shop", DatabaseError),
    ],
)
def test_no_message_holds_the_password(tmp_path: Path, dsn: str, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught:
        snapshot(dsn, tmp_path, RATINGS)
    assert "s3cret" not in str(caught.value)


def test_a_role_that_may_only_select_is_enough_and_a_missing_right_is_named(
    shop: str, postgres: Server, tmp_path: Path
) -> None:
    name = psycopg2.extensions.parse_dsn(shop)["dbname"]
    run(
        shop,
        f"revoke temporary on database {name} from public",
        f"grant select on people, movies to {PLAIN}",
        f"grant select (user_id, item_id, ts, stars, kind) on ratings to {PLAIN}",
    )
    as_role = postgres.dsn_of(name, PLAIN)
    assert len(rows_of(snapshot(as_role, tmp_path, RATINGS))) == 3
    run(shop, f"revoke all on movies from {PLAIN}")
    with pytest.raises(ConfigError, match=r"a right is missing: permission denied for .*movies"):
        snapshot(as_role, tmp_path, RATINGS)


def test_a_database_in_another_encoding(postgres: Server, tmp_path: Path) -> None:
    name = f"recjobs_test_latin_{os.getpid()}"
    options = "encoding 'LATIN1' locale 'C' template template0"
    postgres.run(sql.SQL(f"create database {name} {options}"))
    latin = psycopg2.extensions.make_dsn(postgres.dsn, dbname=name)
    try:
        run(
            latin,
            "create table log (user_id text, item_id int, ts date)",
            "insert into log values ('Zoë', 1, '2016-01-01')",
        )
        [row] = rows_of(snapshot(latin, tmp_path, SourceSettings(table="log")))
    finally:
        postgres.drop_database(latin)
    assert row["user_id"] == "Zoë"


FEATURED = """
    create type mood as enum ('dark', 'light');
    create table films (
        id int primary key, added timestamptz, "The Title" varchar(40), about text, keywords text[],
        genres text, cast_ids int[], mood mood, studio int, year smallint, price numeric(8, 2),
        premiere date, is_long boolean, blob bytea, details jsonb);
    insert into films values
        (1, '2016-01-01', 'Alien', 'In space.', '{crew,"no one hears"}', 'Horror|Sci-Fi', '{7,3,7}',
            'dark', 20, 1979, 9.99, '1970-01-11', true),
        (2, '2016-01-01', null, null, null, ' | ', null, null, null, null, null, 'infinity', null),
        (3, '2016-01-01', 'Brazil', null, '{}', 'Sci-Fi', '{}', 'light', 20, null, 'NaN', null,
            false),
        (4, '2016-10-17', 'Dune', 'Sand', '{spice}', 'Sci-Fi', '{9}', 'dark', 30, 1984, 1, null,
            true);
    create table fans (user_id int, country text, queries text, market mood);
    insert into fans values (10, 'FR, BE', 'space opera', 'light'), (11, null, null, null);
    create table seen (user_id int, item_id int, ts timestamptz);
    insert into seen values (10, 1, '2016-02-01'), (11, 3, '2016-02-01');"""


def featured(**items: Any) -> SourceSettings:
    return SourceSettings(
        table="seen",
        items={"table": "films", "item_id": "id", "created_at": "added", **items},
        users={
            "table": "fans",
            "text": ["queries"],
            "categories": ["country"],
            "separator": ", ",
            "segment": "market",
        },
    )  # type: ignore[arg-type]  # pydantic makes the sections


def test_text_categories_and_numbers_of_every_type(each_database: str, tmp_path: Path) -> None:
    run(each_database, FEATURED)
    source = featured(
        text=["The Title", "about", "keywords"],
        categories=["genres", "cast_ids", "mood", "studio"],
        numbers=["year", "price", "premiere", "is_long"],
    )
    out = snapshot(each_database, tmp_path / "one", source)
    table = pq.read_table(out.folder / "items.parquet")
    assert table.schema.types[-3:-1] == [pa.string(), pa.list_(pa.string())]
    assert table.schema.field("numbers").type == pa.list_(
        pa.field("element", pa.struct({"column": pa.string(), "value": pa.float32()}))
    )
    alien, empty, brazil = table.to_pylist()  # Dune comes at as_of
    assert alien["text"].split() == ["Alien", "In", "space.", "crew", "no", "one", "hears"]
    assert alien["categories"] == [
        "cast_ids=3", "cast_ids=7", "genres=Horror", "genres=Sci-Fi", "mood=dark", "studio=20",
    ]  # fmt: skip
    names = ["year", "price", "premiere", "is_long"]
    assert all([each["column"] for each in row["numbers"]] == names for row in table.to_pylist())
    assert [each["value"] for each in alien["numbers"]] == pytest.approx([1979, 9.99, 10, 1])
    assert (empty["text"], empty["categories"]) == ("", [])
    assert brazil["text"] == "Brazil"
    assert brazil["categories"] == ["genres=Sci-Fi", "mood=light", "studio=20"]
    assert [each["value"] for each in empty["numbers"]] == [None] * 4
    assert [each["value"] for each in brazil["numbers"]] == [None] * 3 + [0.0]
    fan, other = rows_of(out, "users")
    assert (fan["text"], fan["categories"]) == ("space opera", ["country=BE", "country=FR"])
    assert (other["text"], other["categories"], other["numbers"]) == ("", [], [])
    assert (fan["segment"], other["segment"]) == ("light", None)

    again = snapshot(each_database, tmp_path / "two", source)
    assert again.summary["digest"] == out.summary["digest"]
    run(each_database, "update films set about = 'In space?' where id = 1")
    later = snapshot(each_database, tmp_path / "three", source)
    assert later.summary["digest"] != out.summary["digest"]


def test_the_snapshots_features_are_those_of_the_index(database: str, tmp_path: Path) -> None:
    run(database, FEATURED, "delete from fans where user_id = 11")
    source = featured(text=["about"], categories=["genres"], numbers=["year"])
    out = snapshot(database, tmp_path, source)
    paths = [out.folder / f"{name}.parquet" for name in ("interactions", "items", "users")]
    types = out.summary["user_id_type"], out.summary["item_id_type"]
    as_of = round(AS_OF.timestamp() * 1e6)
    log = read_snapshot(*paths, id_types=types, as_of=as_of)  # type: ignore[arg-type]
    assert log.items.ids.to_pylist() == [1, 2, 3]
    assert log.item_features.text.to_pylist() == ["In space.", "", ""]
    assert log.item_features.tokens == ("genres=Horror", "genres=Sci-Fi")
    assert log.item_features.indptr.tolist() == [0, 2, 2, 3]
    assert log.item_features.numbers[0, 0] == 1979
    assert log.users.ids.to_pylist() == [10, 11]  # who is not in the table has no features
    assert log.user_features.text.to_pylist() == ["space opera", ""]
    assert (log.segments.names, log.segments.code.tolist()) == (("light",), [0, -1])
    (tmp_path / "index").mkdir()
    log.save(tmp_path / "index")
    names = (*Interactions.FILES, "item_features.parquet")
    loaded = Interactions.load(*(tmp_path / "index" / name for name in names))
    assert loaded.item_features.text.equals(log.item_features.text)
    assert len(loaded.user_features) == 0
    assert loaded.segments.names == ("light",)
    assert loaded.segments.code.tolist() == [0, -1]


def test_citext_is_text_wherever_the_extension_is(database: str, tmp_path: Path) -> None:
    run(
        database,
        "create schema extensions",
        "create extension citext schema extensions",
        "create domain name as extensions.citext",
        "create table films (item_id int, title extensions.citext, genres name)",
        "insert into films values (1, 'Alien', 'Horror|Sci-Fi')",
        "create table seen (user_id int, item_id int, ts timestamptz)",
        "insert into seen values (10, 1, '2016-02-01')",
    )
    items = {"table": "films", "text": ["title"], "categories": ["genres"]}
    out = snapshot(database, tmp_path, SourceSettings(table="seen", items=items))  # type: ignore[arg-type]
    [film] = rows_of(out, "items")
    assert (film["text"], film["categories"]) == ("Alien", ["genres=Horror", "genres=Sci-Fi"])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"text": ["The title"]}, r"items.text: table films has no column 'The title' \(did you m"),
        ({"text": ["year"]}, "items.text: expected text: .*Received: smallint, column year of ta"),
        (
            {"categories": ["genre"]},
            r"categories: table films has no column 'genre' \(did you mean",
        ),
        ({"categories": ["details"]}, "categories: expected text, an array.*Received: jsonb, col"),
        ({"numbers": ["genres"]}, "numbers: expected a number, .*Received: text, column genres"),
    ],
)
def test_a_feature_that_is_missing_or_does_not_fit_is_named(
    database: str, tmp_path: Path, items: dict[str, Any], message: str
) -> None:
    run(database, FEATURED)
    with pytest.raises(ConfigError, match=message):
        snapshot(database, tmp_path, featured(**items))
