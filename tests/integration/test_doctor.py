"""`doctor.examine` against real servers: a sound set-up, then one defect at a time."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from pooler import pooled
from recjobs import migrate
from recjobs.config import Settings
from recjobs.doctor import Finding, examine, servers, source, target
from servers import PLAIN, Server, system, system_binaries

SHOP = """
    create table movies (item_id integer primary key, title text);
    create table ratings (user_id bigint, item_id integer, ts timestamptz, stars real, kind text);
    insert into movies select n, 'Movie ' || n from generate_series(1, 20) n;
    insert into ratings select n % 30, n % 20 + 1, timestamptz '2020-01-01' + n * interval '1 hour',
        n % 5 + 1, case n % 3 when 0 then 'buy' else 'view' end from generate_series(1, 600) n;
"""
SOURCE = {"table": "ratings", "rating": "stars", "items": {"table": "movies", "title": "title"}}

Examine = Callable[..., dict[str, Finding]]


def run(dsn: str, *statements: str) -> None:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


@pytest.fixture
def shop(each_database: str) -> str:
    run(each_database, SHOP)
    return each_database


@pytest.fixture
def examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Examine a database with changed settings; every finding but an "ok" says how to mend it."""
    monkeypatch.setattr("recjobs.source.questions.PATIENCE_SECONDS", 600)
    monkeypatch.setattr(target, "_LITTLE_BYTES", 0)

    def look(dsn: str, *, target_dsn: str = "", **sections: Any) -> dict[str, Finding]:
        monkeypatch.setenv("SOURCE_DSN", dsn)
        monkeypatch.setenv("TARGET_DSN", target_dsn or dsn)
        settings = {
            "job": {"name": "shop"},
            "target": {"dsn_env": "TARGET_DSN"},
            "artifacts": {"root": str(tmp_path / "artifacts")},
            **sections,
            "source": {**SOURCE, "dsn_env": "SOURCE_DSN", **sections.get("source", {})},
        }
        findings = examine(Settings.model_validate(settings))
        for finding in findings:
            assert bool(finding.mend) == (finding.status != "ok"), finding
        found = {finding.name: finding for finding in findings}
        assert len(found) == len(findings)
        return found

    return look


def troubles(found: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.status for name, finding in found.items() if finding.status != "ok"}


def test_a_sound_set_up(shop: str, examined: Examine) -> None:
    assert troubles(examined(shop)) == {"target.migrations": "warn"}
    target_ = migrate.Target("recs", "bigint", "integer")
    migrate.apply(shop, target_)
    found = examined(shop)
    assert troubles(found) == {}
    assert found["target.connection"].message == "the source's database, as the same role"
    assert found["target.id_types"].message == "users bigint, items integer, as in the source"
    assert "PostgreSQL 1" in found["source.version"].message
    assert found["source.items"].message == "movies: every column fits and can be read"


def test_a_server_that_is_not_there_hides_nothing_else(shop: str, examined: Examine) -> None:
    found = examined("postgresql://app:s3cret@127.0.0.1:1/shop", target_dsn=shop)
    assert troubles(found) == {"source.connection": "fail", "target.migrations": "warn"}
    assert "pg_hba.conf" in found["source.connection"].mend
    assert "target.version" in found
    assert "s3cret" not in str(found)


def test_a_variable_that_is_not_set(shop: str, examined: Examine) -> None:
    found = examined(shop, target={"dsn_env": "NOBODY_SETS_THIS"})
    assert "NOBODY_SETS_THIS, which is not set" in found["target.connection"].message
    assert found["source.interactions"].status == "ok"


@pytest.mark.parametrize(
    ("change", "settings", "name", "status", "message", "mend"),
    [
        ("", {"source": {"table": "rating"}}, "source.interactions", "fail",
         "did you mean 'ratings'?", "as the message says"),
        ("alter table ratings alter item_id type numeric", {}, "source.interactions", "fail",
         "Received: numeric, column item_id", "as the message says"),
        ("", {"source": {"items": {"table": "movies", "title": "name"}}}, "source.items", "fail",
         "has no column 'name'", "as the message says"),
        ("", {"source": {"items": {"table": "movies", "text": ["plot"]}}}, "source.items", "fail",
         "has no column 'plot'", "as the message says"),
        ("", {"source": {"items": {"table": "movies"}}, "model": {"name": "content"}},
         "model.features", "fail", "content can't do without features", "source.items.text"),
        ("", {"model": {"name": "blend", "params": {"models": {"ease": {}, "content": {}}}}},
         "model.features", "fail", "content can't do without features", "source.items.text"),
        ("", {"source": {"users": {"table": "people"}}}, "source.users", "fail",
         "no table 'people'", "as the message says"),
        ("alter table ratings alter ts type bigint using extract(epoch from ts) * 1000",
         {"source": {"time_unit": "s"}}, "source.time_unit", "fail",
         "looks like milliseconds", 'set source.time_unit = "ms"'),
        ("alter table ratings alter ts type bigint using extract(epoch from ts)",
         {"source": {"time_unit": "ms"}}, "source.time_unit", "fail",
         "looks like seconds", 'set source.time_unit = "s"'),
        ("alter table ratings alter ts type bigint using extract(epoch from ts) * 1000000",
         {"source": {"time_unit": "ms"}}, "source.time_unit", "fail",
         "looks like microseconds", "divide it in an SQL file"),
        ("insert into ratings values (1, 1, now() + interval '3 hours')", {}, "source.future",
         "warn", "1 rows lie in the future, as late as ", "mend those rows"),
        ("alter table ratings alter ts type timestamp; insert into ratings values "
         "(1, 1, now() at time zone 'Asia/Tokyo')", {"source": {"source_timezone": "UTC"}},
         "source.future", "warn", "1 rows lie in the future", "source_timezone is right (UTC)"),
        ("", {"source": {"event": "kind"}, "feedback": {"event_weights": {"purchase": 5}}},
         "feedback.events", "fail", "names purchase; table ratings has buy, view", "event_weights"),
        ("", {"source": {"event": "kind"}, "feedback": {"exclude_seen": "buy, return"}},
         "feedback.events", "warn", "exclude_seen names return", "feedback.exclude_seen"),
        ("", {"source": {"event": "kind"}, "feedback": {"exclude_seen": "2"}}, "feedback.events",
         "fail", "exclude_seen names 2; table ratings has buy", "feedback.exclude_seen"),
        ("", {"feedback": {"event_weights": {"buy": 5}}}, "feedback.events", "fail",
         "source.event is not set", "set source.event"),
        ("", {"source": {"rating": ""}, "feedback": {"kind": "explicit"}}, "feedback.ratings",
         "fail", "source.rating is not set", "set source.rating"),
        ("", {"feedback": {"positive_at": 8}}, "feedback.ratings", "fail",
         "no rating is above 5: nothing would be a positive", "set feedback.positive_at to 5 or"),
        ("", {"source": {"event": "kind"}, "feedback": {"event_weights": {"buy": 5}}},
         "feedback.events", "warn", "table ratings has view too, without a weight",
         "leave the rest"),
        ("", {"model": {"params": {"embedding_dims": 3}}}, "settings", "fail",
         "model.params.embedding_dims: mf has no such", "as the message says"),
        ("", {"model": {"name": "mff"}}, "settings", "fail", "model.name: there is no model 'mff'",
         "as the message says"),
        ("", {"evaluate": {"baselines": ["poplar"]}}, "settings", "fail",
         "evaluate.baselines: there is no model 'poplar'; did you mean 'popular'?",
         "as the message says"),
        ("", {"rerank": {"calibration": 0.5}}, "settings", "fail",
         "name their columns in source.items.categories", "as the message says"),
        ("", {"score": {"similar_users": 5}, "model": {"name": "ease"}}, "settings", "fail",
         "score.similar_users: expected a model with vectors", "as the message says"),
        ("", {"schedule": {"cron": "61 * * * *"}}, "schedule.cron", "fail",
         "Airflow would not take '61 * * * *'", "such as \"30 2 * * *\""),
        ("", {"artifacts": {"root": "nostore://bucket"}}, "artifacts", "fail",
         "can't be opened", "install the fsspec package"),
        ("alter role {role} in database {name} set statement_timeout = '45s'", {},
         "source.statement_timeout", "warn", "cancelled after 45 s", "set statement_timeout"),
    ],
)  # fmt: skip
def test_each_defect_is_found_with_its_mend(
    database: str, examined: Examine, change: str, settings: dict[str, Any], name: str,
    status: str, message: str, mend: str,
) -> None:  # fmt: skip
    parts = parse_dsn(database)
    run(database, SHOP)
    if change:
        run(database, change.format(role=parts["user"], name=parts["dbname"]))
    found = examined(database, **settings)
    assert troubles(found) == {name: status, "target.migrations": "warn"}
    assert message in found[name].message
    assert mend in found[name].mend


@pytest.mark.parametrize(
    ("change", "settings"),
    [
        # Event types say what is a positive: no rating has to.
        ("", {"source": {"event": "kind"},
              "feedback": {"event_weights": {"buy": 5, "view": 1}, "positive_at": 8}}),
        # What comes first in the table is not all there is.
        ("update ratings set stars = 1; insert into ratings select user_id, item_id, ts, 1, kind "
         "from ratings, generate_series(1, 20); insert into ratings values (1, 1, now(), 5, 'buy')",
         {"feedback": {"positive_at": 5}}),
        # A night compares in the precision of a real.
        ("update ratings set stars = 4.1", {"feedback": {"positive_at": 4.1}}),
        ("update ratings set stars = null", {"feedback": {"positive_at": 4}}),
        ("", {"schedule": {"cron": "@quarterly"}}),
    ],
)  # fmt: skip
def test_what_a_night_can_do_is_no_defect(
    database: str, examined: Examine, change: str, settings: dict[str, Any]
) -> None:
    run(database, SHOP)
    if change:
        run(database, change)
    assert troubles(examined(database, **settings)) == {"target.migrations": "warn"}


def test_ratings_of_which_none_is_a_positive_but_what_is_no_number(
    database: str, examined: Examine
) -> None:
    run(
        database,
        SHOP,
        "alter table ratings alter stars type double precision",
        "update ratings set stars = 'nan' where stars = 5",
        "update ratings set stars = 1.7e308 where stars = 1",
    )
    found = examined(database, feedback={"positive_at": 5})
    assert troubles(found) == {"feedback.ratings": "fail", "target.migrations": "warn"}
    assert "no rating is above 1.7e+308" in found["feedback.ratings"].message
    run(database, "update ratings set stars = 'infinity'")
    found = examined(database, feedback={"positive_at": 5})
    assert "no rating is a finite number" in found["feedback.ratings"].message


def test_a_schema_of_an_application(database: str, examined: Examine) -> None:
    run(database, SHOP, "create schema app", "create table app.item (id int)")
    found = examined(database, job={"name": "shop", "schema": "app"})
    assert troubles(found) == {"target.rights": "fail"}
    assert found["target.rights"].message == "schema app holds tables that are none of ours"
    run(database, "drop table app.item")
    found = examined(database, job={"name": "shop", "schema": "app"})
    assert troubles(found) == {"target.migrations": "warn"}  # an empty one can be the job's


@pytest.mark.parametrize("partitioned", [False, True])
def test_a_large_table_without_an_index_on_its_time(
    database: str, examined: Examine, partitioned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, SHOP)
    if partitioned:
        run(database,
            "alter table ratings rename to old",
            "create table ratings (like old) partition by range (ts)",
            "create table early partition of ratings for values from (minvalue) to (maxvalue)",
            "insert into ratings select * from old")  # fmt: skip
    assert examined(database)["source.time_index"].status == "ok"  # small enough without
    monkeypatch.setattr(source, "_SMALL_BYTES", 1)
    found = examined(database)["source.time_index"]
    assert found.status == "warn"
    assert ("concurrently" in found.mend) is not partitioned
    run(database, found.mend)  # it is a statement to run as it stands
    assert "begins with ts" in examined(database)["source.time_index"].message


def test_a_superuser(postgres: Server, database: str, examined: Examine) -> None:
    run(database, SHOP)
    found = examined(make_dsn(postgres.dsn, dbname=parse_dsn(database)["dbname"]))
    assert found["source.role"].status == "warn"
    assert "create an ordinary role" in found["source.role"].mend


def test_a_role_without_rights(postgres: Server, database: str, examined: Examine) -> None:
    run(database, SHOP, f"revoke all on ratings from {PLAIN}")
    plain = postgres.dsn_of(parse_dsn(database)["dbname"], PLAIN)
    found = examined(plain)
    # Roles belong to the server: another test may have made the job's.
    troubled = {name: s for name, s in troubles(found).items() if name != "target.roles"}
    assert troubled == {
        "source.interactions": "fail", "target.rights": "fail", "target.migrations": "warn",
    }  # fmt: skip
    assert "permission denied for table ratings" in found["source.interactions"].message
    assert found["target.rights"].mend.startswith("grant create on database")
    if "target.roles" in troubles(found):
        assert "--no-roles" in found["target.roles"].mend

    run(database, "create schema recs")
    found = examined(database, target_dsn=plain)
    assert f"{PLAIN} is no member of it" in found["target.rights"].message


def test_tables_of_other_id_types(database: str, examined: Examine) -> None:
    run(database, SHOP)
    migrate.apply(database, migrate.Target("recs", "uuid", "integer"))
    found = examined(database)
    assert troubles(found) == {"target.id_types": "fail"}
    assert "the source has bigint and integer" in found["target.id_types"].message


def test_migrations_of_another_version(database: str, examined: Examine) -> None:
    run(database, SHOP)
    migrate.apply(database, migrate.Target("recs", "bigint", "integer"))
    run(database, "update recs.migration set checksum = 'x' where number = 1")
    assert "changed after being applied" in examined(database)["target.migrations"].message
    run(database, "insert into recs.migration select 999, '999_later', 'x', user_id_type, "
                  "item_id_type from recs.migration limit 1")  # fmt: skip
    assert "by a newer recjobs: 999_later" in examined(database)["target.migrations"].message


def test_a_pooler(
    postgres: Server, database: str, examined: Examine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run(database, SHOP)
    assert examined(database)["source.pooling"].message == "a direct connection"
    try:
        with pooled(database, tmp_path_factory.mktemp("p")) as dsn:
            found = examined(dsn, target_dsn=database)
    except ConnectionError as error:
        pytest.skip(f"this server can't be put behind the tests' pooler: {error}")
    assert "transaction mode" in found["source.pooling"].message
    assert "past the pooler" in found["source.pooling"].mend
    assert found["target.pooling"].status == "ok"
    assert found["source.interactions"].status == "ok"


def test_a_clock_that_is_off(
    database: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, SHOP)
    now = servers._now
    monkeypatch.setattr(servers, "_now", lambda: now() - timedelta(minutes=2))
    found = examined(database)["source.clock"]
    seconds = re.search(r" (\d+) s apart$", found.message)
    assert found.status == "warn"
    assert seconds is not None
    assert 60 < int(seconds[1]) <= 120  # less by what it took to ask


def test_a_server_that_is_too_old_or_a_replica(database: str) -> None:
    connection = psycopg2.connect(database)
    server = servers.Server("target", database, connection)
    assert servers._version(server, 140012).status == "fail"
    assert servers._version(server, 190000).status == "warn"
    assert servers._replica(server, True).status == "fail"
    assert servers._replica(servers.Server("source", database, connection), True).status == "ok"
    connection.close()


def test_a_target_that_is_the_sources_standby(
    postgres15: Server, examined: Examine, tmp_path: Path
) -> None:
    binaries = system_binaries()
    assert binaries is not None
    with system(binaries) as server:
        dsn = server.create_database()
        run(dsn, SHOP)
        assert examined(dsn)["target.replica"].status == "ok"
        folder = Path(parse_dsn(server.dsn)["host"])
        (folder / "data" / "standby.signal").touch()
        with (folder / "restart.out").open("w") as log:
            subprocess.run(
                [binaries / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "restart"],
                check=True, user=(folder / "data").owner(), cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        found = examined(dsn)
    assert found["source.replica"].status == "ok"
    assert found["target.replica"].status == "fail"
    assert "target.dsn_env" in found["target.replica"].mend


def test_too_little_room_and_a_folder_that_can_not_be_written(
    database: str, examined: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, SHOP)
    monkeypatch.setattr(target, "_LITTLE_BYTES", 1 << 62)
    found = examined(database)["artifacts"]
    assert (found.status, found.mend[:9]) == ("warn", "make room")
    monkeypatch.setattr(target, "_TOO_LITTLE_BYTES", 1 << 62)
    assert examined(database)["artifacts"].status == "fail"
    (tmp_path / "file").touch()
    for root in (f"{tmp_path}/file", f"{tmp_path}/file/artifacts", "/proc/artifacts"):
        found = examined(database, artifacts={"root": root})["artifacts"]
        assert found.status == "fail", root
        assert f"artifacts.root {root} can't be written to: " in found.message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]  # nothing is left behind


def test_a_check_that_breaks_stops_no_other(
    database: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ZeroDivisionError("of course")

    run(database, SHOP)
    monkeypatch.setattr(source, "_future", broken)
    found = examined(database)
    assert troubles(found) == {"source.future": "warn", "target.migrations": "warn"}
    assert "ZeroDivisionError: of course" in found["source.future"].message


def test_a_question_that_takes_too_long_is_given_up(
    database: str, examined: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, SHOP, "alter table ratings rename to slow",
        "create view ratings as select *, pg_sleep(5)::text as nap from slow")  # fmt: skip
    monkeypatch.setattr("recjobs.source.questions.PATIENCE_SECONDS", 1)
    feedback = {"event_weights": {"x": 1}}
    found = examined(database, source={"event": "nap"}, feedback=feedback)
    assert "took longer than 1 s" in found["feedback.events"].message
