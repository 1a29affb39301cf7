"""`init.propose` on schemas as applications have them: what it writes loads, and passes doctor."""

from __future__ import annotations

import io
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import make_dsn
from pyarrow import csv

from recjobs.artifacts import StageOutput
from recjobs.config import Settings, load_settings
from recjobs.doctor import examine
from recjobs.errors import ConfigError, DatabaseError, DataError
from recjobs.extract import extract
from recjobs.init import propose

DATA = Path(__file__).parents[2] / "../shared/data"

MOVIELENS = """
    create schema movielens;
    create table movielens.movies (
        movie_id integer primary key, title text not null, genres text, year smallint);
    create table movielens.ratings (
        user_id integer not null, movie_id integer not null references movielens.movies,
        rating numeric(2, 1) not null, rated_at bigint not null, primary key (user_id, movie_id));
    create table movielens.tags (
        user_id integer, movie_id integer references movielens.movies, tag text, tagged_at bigint);
    insert into movielens.movies
        select n, 'Movie ' || n, 'Drama', 1990 from generate_series(1, 300) n;
    -- Everyone rates in one sitting, a day after the one before.
    insert into movielens.ratings
        select u, (u * 7 + n * 3) % 300 + 1, (1 + (u + n) % 10) / 2.0,
            1400000000 + u * 86400 + n * 10
        from generate_series(1, 150) u, generate_series(1, 30) n;
    analyze movielens.movies, movielens.ratings;
"""

EVENTS = """
    create type event_kind as enum ('view', 'add_to_cart', 'purchase', 'refund', 'poke');
    create table customers (
        id uuid primary key default gen_random_uuid(), email text unique, name text,
        country_code text default 'FR', age int, phone text,
        created_at timestamptz default '2025-01-01', is_active boolean default true);
    create table products (
        id bigserial primary key, sku text unique, name text, description text, tags text,
        sizes text[], brand_id int default 3, material text default 'wool', price numeric,
        in_season boolean, launched date, image_url text, supplier_email text, details jsonb,
        created_at timestamp default '2025-01-01', updated_at timestamptz,
        deleted_at timestamptz);
    create table events (
        id bigserial primary key, customer_id uuid references customers,
        product_id bigint references products, kind event_kind, occurred_at timestamptz,
        updated_at timestamptz);
    create table orders (
        id bigserial primary key, customer_id uuid references customers, total numeric,
        created_at timestamptz);
    create table events_old (like events);
    insert into customers (name) select 'Customer ' || n from generate_series(1, 200) n;
    insert into products (name, sku, description, tags)
        select 'Product ' || n, 'S' || n, 'Number ' || n || ', made to last', 'new,' || n
        from generate_series(1, 50) n;
    insert into events (customer_id, product_id, kind, occurred_at, updated_at)
        select c.id, 1 + n % 50, (enum_range(null::event_kind))[1 + n % 5],
            timestamptz '2026-01-01' + n % 29 * interval '1 day', now()
        from (select id, row_number() over () as r from customers) c, generate_series(1, 40) n;
    analyze customers, products, events;
"""

PLAYS = """
    create table "Accounts" (username text primary key, banned boolean);
    create table "Songs" ("songId" varchar(20) primary key, "songTitle" text, is_available boolean);
    create table "PlayHistory" (username text, "songId" varchar(20), "playedAt" timestamp);
    insert into "Accounts" select 'user ' || n from generate_series(1, 30) n;
    insert into "Songs" select 's' || n, 'Song "' || n from generate_series(1, 30) n;
    insert into "PlayHistory"
        select 'user ' || n % 30 + 1, 's' || n % 7 + 1,
            timestamp '2026-01-01' + n * interval '1 min'
        from generate_series(1, 3000) n;
"""


def run(dsn: str, script: str) -> None:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute(script)
    connection.close()


def flat(text: str) -> str:
    """Return the text with its comments on one line."""
    return " ".join(text.replace("#", "").split())


def accepted(
    dsn: str, folder: Path, monkeypatch: pytest.MonkeyPatch, schema: str | None = None
) -> tuple[str, Settings]:
    """Return what is proposed: it must load, pass doctor, and let the source be read."""
    text = propose(dsn, dsn_env="SHOP_DSN", schema=schema)
    path = folder / "shop.toml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SHOP_DSN", dsn)
    settings = load_settings(path)
    failed = [finding for finding in examine(settings) if finding.status == "fail"]
    assert failed == [], text
    out = StageOutput(folder / "snapshot")
    out.folder.mkdir()
    extract(settings.source, datetime(2026, 2, 1, tzinfo=UTC), out, dsn=dsn)
    assert out.summary["rows"] > 1000
    assert all(len(line) <= 120 for line in text.splitlines()), text
    return text, settings


def test_ratings_as_movielens_has_them(
    each_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(each_database, MOVIELENS)
    text, settings = accepted(each_database, tmp_path, monkeypatch)
    source = settings.source
    assert (source.table, source.user_id, source.item_id) == (
        "movielens.ratings",
        "user_id",
        "movie_id",
    )
    assert (source.time, source.time_unit, source.rating) == ("rated_at", "s", "rating")
    assert (source.items.table, source.items.title) == ("movielens.movies", "title")
    assert (source.items.text, source.items.categories) == (("title",), ("genres",))
    assert (source.items.numbers, source.items.separator) == (("year",), "|")
    assert source.items.item_id == "movie_id"
    assert not source.users.table
    assert (settings.feedback.kind, settings.feedback.positive_at) == ("implicit", 4.0)
    assert (settings.expectations.rating_min, settings.expectations.rating_max) == (0.5, 5.0)
    assert (settings.holdout.kind, settings.holdout.last) == ("last_per_user", 3)
    assert "people act in one sitting here" in flat(text)
    assert "#   movielens.tags: it is empty" in text
    assert "#   movielens.movies:" not in text  # taken as items


def test_typed_events_of_a_shop(
    each_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(each_database, EVENTS)
    text, settings = accepted(each_database, tmp_path, monkeypatch)
    source, feedback = settings.source, settings.feedback
    assert (source.table, source.user_id) == ("public.events", "customer_id")
    assert (source.item_id, source.time, source.event) == ("product_id", "occurred_at", "kind")
    assert (source.items.table, source.items.item_id) == ("public.products", "id")
    assert (source.items.title, source.items.created_at) == ("name", "created_at")
    assert source.items.available_sql == '"deleted_at" is null'
    assert source.items.text == ("name", "description")
    assert source.items.categories == ("tags", "sizes", "brand_id", "material", "in_season")
    assert source.items.separator == ","
    assert source.items.numbers == ("price", "launched")
    assert (source.users.text, source.users.categories) == ((), ("country_code",))
    assert source.users.numbers == ("age",)
    assert source.source_timezone  # for the items' created_at, a timestamp
    assert (source.users.table, source.users.active) == ("public.customers", "is_active")
    assert feedback.event_weights == {"view": 1, "add_to_cart": 3, "purchase": 5, "poke": 1}
    assert 'Without a weight: seen, but no sign of liking: "refund".' in text
    assert (settings.holdout.kind, settings.holdout.days) == ("global_time", 7)
    assert "uuid; 200 in the first 8,000 rows" in text
    assert "#   public.events_old: it is empty" in text
    assert "#   public.orders: customer_id, but no column of items that could repeat" in text


def test_names_that_need_quotes_and_times_without_a_zone(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, PLAYS)
    run(database, "set timezone to 'Asia/Tokyo'")  # of that session alone
    text, settings = accepted(database, tmp_path, monkeypatch)
    source = settings.source
    assert (source.table, source.user_id) == ("public.PlayHistory", "username")
    assert (source.item_id, source.time) == ("songId", "playedAt")
    assert source.source_timezone
    assert "CHECK: timestamp says no time zone" in text
    assert (source.items.table, source.items.available) == ("public.Songs", "is_available")
    assert source.items.title == "songTitle"
    assert (source.users.table, source.users.user_id) == ("public.Accounts", "username")
    assert "CHECK banned: to leave such users out, name an SQL file" in flat(text)
    assert 'set "none", or "30d"' in text  # songs are played again


def test_the_best_of_several(database: str) -> None:
    run(database, MOVIELENS)
    run(
        database,
        "insert into movielens.tags select user_id, movie_id, 'x', rated_at "
        "from movielens.ratings where user_id < 20; analyze movielens.tags",
    )
    text = propose(database)
    assert 'table = "movielens.ratings"' in text
    assert "movielens.tags: could hold interactions too, but fits less well (" in flat(text)


def test_a_table_of_users_that_says_nothing_of_use(database: str) -> None:
    run(database, PLAYS + 'alter table "Accounts" drop column banned')
    text = propose(database)
    assert "would add nothing" in flat(text)
    assert "source.users" not in tomllib.loads(text)


OLD_AND_NEW = """
    create table old (
        n serial, user_id int, item_id int, at timestamptz, stars numeric(2, 1), kind text);
    insert into old (user_id, item_id, at, stars, kind)
        select n % 90, n % 40, timestamptz '2026-01-01' + n * interval '1 min',
            case when n <= 10000 then 1 + n % 3 else 1 + n % 5 end,
            case when n > 10000 and n % 2 = 0 then 'purchase' else 'view' end
        from generate_series(1, 16000) n;
    create schema app;
"""


def test_what_only_later_rows_hold_counts(database: str) -> None:
    run(
        database,
        f"{OLD_AND_NEW} create table app.clicks as select user_id, item_id, at, kind from old;"
        "create schema votes; "
        "create table votes.ratings as select user_id, item_id, at, stars from old;"
        "insert into votes.ratings select 1, n, now(), 'nan' from generate_series(1, 2) n",
    )
    text = propose(database, schema="app")
    settings = tomllib.loads(text)
    assert settings["feedback"]["event_weights"] == {"view": 1, "purchase": 5}
    assert "# 2 types\n" in text
    settings = tomllib.loads(propose(database, schema="votes"))
    assert settings["feedback"]["positive_at"] == 4
    assert settings["validate"] == {"rating_min": 1, "rating_max": 5}


def test_a_real_is_written_as_it_reads(database: str) -> None:
    run(
        database,
        f"{OLD_AND_NEW} create table app.ratings as "
        "select user_id, item_id, at, (stars + 0.1)::real as stars from old",
    )
    settings = tomllib.loads(propose(database, schema="app"))
    assert settings["feedback"]["positive_at"] == 4.1
    assert settings["validate"] == {"rating_min": 1.1, "rating_max": 5.1}


def test_what_is_of_the_first_rows_alone_says_so(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recjobs.source.questions.PATIENCE_SECONDS", 2)
    slow = "case when n > 10000 then pg_sleep(5)::text else '' end"
    run(
        database,
        f"{OLD_AND_NEW} create view app.clicks as "
        f"select user_id, item_id, at, kind || ({slow}) as kind from old order by n;"
        "create schema votes; create view votes.ratings as "
        f"select user_id, item_id, at, stars + length({slow}) as stars from old order by n",
    )
    text = propose(database, schema="app")
    assert tomllib.loads(text)["feedback"]["event_weights"] == {"view": 1}
    assert "# 1 types. CHECK: of the first rows alone\n" in text
    text = propose(database, schema="votes")
    assert "upper quarter of 1 to 3. CHECK: of the first rows alone\n" in text
    assert tomllib.loads(text)["feedback"]["positive_at"] == 3


def test_one_schema_alone(database: str) -> None:
    run(database, MOVIELENS + EVENTS)
    assert 'table = "movielens.ratings"' in propose(database, schema="movielens")
    assert 'table = "public.events"' in propose(database, schema="public")
    with pytest.raises(ConfigError, match=r"no schema 'movie' \(did you mean 'movielens'\?\)"):
        propose(database, schema="movie")


def test_an_empty_database(database: str) -> None:
    with pytest.raises(DataError, match=r"has no tables here .* Expected one of interactions"):
        propose(database)


def test_nothing_that_fits_is_said_table_by_table(database: str) -> None:
    run(database, """
        create table users (id int primary key, name text);
        create table orders (id int primary key, user_id int, ordered_at timestamptz);
        create table order_lines (id int primary key, order_id int, product_id int, pieces int);
        create table views (user_id int, item_id int);
        create table likes (user_id int, item_id numeric, at timestamptz);
        create table visits (user_id int, place_id int, at timestamptz);
        create table clicks (user_id int, item_id int, ts bigint);
        insert into clicks select n % 5, n % 4, n from generate_series(1, 50) n;
        update clicks set ts = ts + 1476662400000000;
        create table firsts (user_id int, item_id int, at timestamptz);
        insert into firsts select n, 1, now() from generate_series(1, 50) n""")  # fmt: skip
    with pytest.raises(DataError) as caught:
        propose(database)
    for line in (
        "public.users: no columns of users and items that could repeat",
        "public.orders: user_id, but no column of items that could repeat",
        "public.order_lines: product_id, but no column of users that could repeat",
        "public.views: users (user_id) and items (item_id), but no column of times",
        "public.likes: its column of items, item_id, is numeric: cast it in an SQL file",
        "public.visits: it is empty",
        "public.clicks: its column ts holds no epoch in seconds or milliseconds (1476662400000050)",
        "public.firsts: each row has another user",
        "write it as an SQL file",
    ):
        assert line in str(caught.value)


def test_the_password_is_written_nowhere(database: str) -> None:
    run(database, MOVIELENS)
    text = propose(make_dsn(database, application_name="s3cret"), dsn_env="MY_DSN")
    password = psycopg2.extensions.parse_dsn(database)["password"]
    assert password not in text
    assert "s3cret" not in text
    assert text.count('dsn_env = "MY_DSN"') == 2
    with pytest.raises(DatabaseError) as caught:
        propose("postgresql://app:s3cret@127.0.0.1:1/shop")
    assert "s3cret" not in str(caught.value)


@pytest.mark.skipif(not DATA.is_dir(), reason="the development data is not here")
@pytest.mark.parametrize(
    ("name", "kind", "positive_at"),
    [("ml-latest-small", "last_per_user", 4.0), ("movietweetings-100k", "global_time", 8.0)],
)
def test_the_holdout_that_suits_real_data(
    database: str, name: str, kind: str, positive_at: float
) -> None:
    columns = ["user_id", "item_id", "rating", "ts"]
    table = pq.read_table(DATA / name / "interactions.parquet", columns=columns)
    buffer = io.BytesIO()
    csv.write_csv(table, buffer, csv.WriteOptions(include_header=False))
    buffer.seek(0)
    connection = psycopg2.connect(database)
    with connection, connection.cursor() as cursor:
        cursor.execute("create table votes (user_id int, item_id int, rating real, voted_at int)")
        cursor.copy_expert("copy votes from stdin (format csv)", buffer)
    connection.close()
    settings = tomllib.loads(propose(database))
    assert settings["holdout"]["kind"] == kind
    assert settings["feedback"]["positive_at"] == positive_at
    assert settings["source"]["time_unit"] == "s"
