"""A large table is read by two sessions: the same rows, of one snapshot."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from recjobs import db
from recjobs.artifacts import StageOutput
from recjobs.config import SourceSettings
from recjobs.errors import DatabaseError, DataError
from recjobs.extract import extract
from recjobs.files import file_sha256
from recjobs.source import plan, queries, read
from servers import PLAIN, Server

AS_OF = datetime(2016, 10, 17, tzinfo=UTC)
SOURCE = SourceSettings(table="log", event="kind")


@pytest.fixture
def log(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give a table of some pages, a few rows of which have no time; it is large enough for two."""
    monkeypatch.setattr(queries, "_PAGES_OF_TWO", 2)
    run(
        database,
        "create table log (user_id bigint, item_id text, ts timestamptz, kind text)",
        "insert into log select n % 97, n % 53, case when n % 50 > 0 then"
        " timestamptz '2016-10-01' + n % 700 * interval '1 hour' end, n % 7"
        " from generate_series(1, 5000) n",
        "analyze log",
    )
    return database


def run(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    with db.connect(dsn) as connection:
        return [db.execute(connection, sql.SQL(statement)) for statement in statements][-1]


def halves(dsn: str, source: SourceSettings = SOURCE) -> tuple[str, ...]:
    with db.connect(dsn) as connection:
        return plan(connection, source, AS_OF).halves


def written(dsn: str, folder: Path) -> str:
    folder.mkdir()
    extract(SOURCE, AS_OF, StageOutput(folder), dsn=dsn)
    return file_sha256(folder / "interactions.parquet")


def test_the_halves_are_the_whole(log: str, tmp_path: Path) -> None:
    counts = [
        run(log, f"select count(*), count(*) filter (where ts is null) from ({half}) as half")[0]
        for half in halves(log)
    ]
    assert len(counts) == 2
    assert sum(rows for rows, _ in counts) == sum(
        rows
        for [rows] in run(log, "select count(*) from log where ts < '2016-10-17' or ts is null")
    )
    assert all(timeless for _, timeless in counts)
    by_two = written(log, tmp_path / "two")
    run(log, "alter table log rename to hidden", "create view log as select * from hidden")
    assert len(halves(log)) == 1
    assert written(log, tmp_path / "one") == by_two


def test_what_is_read_by_an_index_or_is_small_is_read_by_one(
    log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(queries, "_PAGES_OF_TWO", 1000)
        assert len(halves(log)) == 1
    run(log, "update log set ts = ts + interval '1 year' where ts > '2016-10-02'",
        "create index on log (ts)", "analyze log")  # fmt: skip
    assert len(halves(log)) == 1


def test_a_role_that_may_read_some_columns_alone_reads_them_by_one_session(
    log: str, postgres: Server, tmp_path: Path
) -> None:
    by_two = written(log, tmp_path / "two")
    run(log, "alter table log add secret text", f"grant select on log to {PLAIN}")
    name = parse_dsn(log)["dbname"]
    plain = postgres.dsn_of(name, PLAIN)
    assert len(halves(plain)) == 2
    run(log, f"revoke select on log from {PLAIN}",
        f"grant select (user_id, item_id, ts, kind) on log to {PLAIN}")  # fmt: skip
    assert len(halves(plain)) == 1
    assert written(plain, tmp_path / "one") == by_two


def test_both_sessions_see_the_same(log: str) -> None:
    with read._snapshot(log) as first:
        [(before,)] = db.execute(first, sql.SQL("select count(*) from log"))
        run(log, "delete from log where user_id < 9")
        with read._beside(log, first) as second:
            assert second is not None
            assert db.execute(second, sql.SQL("select count(*) from log")) == [(before,)]


def test_a_server_that_gives_one_session_is_read_by_it(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_two = written(log, tmp_path / "two")
    snapshot, opened = read._snapshot, []

    def only_one(dsn: str) -> Any:
        opened.append(dsn)
        if len(opened) > 1:
            raise DatabaseError("too many connections")
        return snapshot(dsn)

    monkeypatch.setattr(read, "_snapshot", only_one)
    assert written(log, tmp_path / "one") == by_two
    assert len(opened) == 2


@pytest.mark.parametrize("place", [0, 1], ids=["first half", "second half"])
def test_what_fails_in_either_half_fails_the_reading(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    inverse = sql.SQL('(1 / "s"."stars")::float8')
    monkeypatch.setattr(queries, "_rating", lambda relation, name: inverse)
    fill = ["insert into scored select user_id, item_id, ts, 1 from log"]
    fill.insert(place, "insert into scored values (1, 'a', '2016-10-01', 0)")
    run(log, "create table scored (user_id bigint, item_id text, ts timestamptz, stars integer)",
        *fill, "analyze scored")  # fmt: skip
    source = SourceSettings(table="scored", rating="stars")
    assert len(halves(log, source)) == 2
    with pytest.raises(DataError, match="division by zero"):
        extract(source, AS_OF, StageOutput(tmp_path), dsn=log)


def test_a_snapshot_that_nobody_may_name_is_read_by_one(
    log: str, postgres: Server, tmp_path: Path
) -> None:
    by_two = written(log, tmp_path / "two")
    everything = make_dsn(postgres.dsn, dbname=parse_dsn(log)["dbname"])
    run(everything, "revoke execute on function pg_export_snapshot() from public")
    assert written(log, tmp_path / "one") == by_two


def test_a_half_that_waits_for_the_other_is_not_ended_by_the_server(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(user, name)] = run(log, "select current_user, current_database()")
    alter = f'alter role "{user}" in database "{name}"'
    run(log, f"{alter} set idle_in_transaction_session_timeout = '1h'")
    limit = "show idle_in_transaction_session_timeout"
    assert run(log, limit) == [("1h",)]
    plain, limits = read._Reading._read, []

    def reading(self: Any, connection: Any, *rest: Any) -> Any:
        limits.append(db.execute(connection, sql.SQL(limit)))
        return plain(self, connection, *rest)

    monkeypatch.setattr(read._Reading, "_read", reading)
    assert written(log, tmp_path / "two")
    assert limits == [[("0",)]] * 2


@pytest.mark.parametrize("late", [0, 0.5], ids=["at work", "about to begin"])
@pytest.mark.parametrize("half", [0, 1])
def test_a_half_that_fails_ends_the_other(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: int, late: float
) -> None:
    plain, ids, rows = read.copied, '"s"."user_id"::bigint', []
    failing = '(1 / ("s"."user_id" - 5))::bigint'
    endless = '((select 0 from pg_sleep(300)) + "s"."user_id")::bigint'

    def copied(connection: Any, text: str, codes: Any) -> Any:
        assert ids in text
        if ('"ctid" >=' in text) != bool(half):
            yield from plain(connection, text.replace(ids, failing, 1), codes)
        time.sleep(late)  # by then the other has failed
        for batch in plain(connection, text.replace(ids, endless, 1), codes):
            rows.append(len(batch))
            yield batch

    monkeypatch.setattr(read, "copied", copied)
    with pytest.raises(DataError, match="division by zero"):
        extract(SOURCE, AS_OF, StageOutput(tmp_path), dsn=log)
    assert not any(rows)  # it was not read to its end
    others = "from pg_stat_activity where datname = current_database()"
    clients = f"select 1 {others} and pid <> pg_backend_pid() and backend_type = 'client backend'"
    while run(log, clients):  # a server's process outlives its client by a little
        time.sleep(0.1)


def test_a_change_of_the_table_between_the_two_locks_is_let_through(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "_LOCK_SECONDS", 2)
    monkeypatch.setattr(read, "_FIRST_PAUSE_SECONDS", 0.01)
    plain, altering = read.copied, Thread(target=run, args=(log, "alter table log add more int"))

    def copied(connection: Any, text: str, ids: Any) -> Any:
        if '"ctid" >=' in text and altering.ident is None:
            time.sleep(0.3)  # the first session has its lock
            altering.start()
            time.sleep(0.3)  # and the change waits for it
        return plain(connection, text, ids)

    monkeypatch.setattr(read, "copied", copied)
    assert written(log, tmp_path / "two")
    altering.join()
    assert run(log, "select count(more) from log") == [(0,)]
