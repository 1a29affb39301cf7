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
from servers import Server

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
def test_what_fails_in_either_half_fails_the_reading(log: str, tmp_path: Path, place: int) -> None:
    fill = ["insert into scored select user_id, item_id, ts, 1 from log"]
    fill.insert(place, "insert into scored values (1, 'a', '2016-10-01', 1e400)")  # no float8
    run(log, "create table scored (user_id bigint, item_id text, ts timestamptz, stars numeric)",
        *fill, "analyze scored")  # fmt: skip
    source = SourceSettings(table="scored", rating="stars")
    assert len(halves(log, source)) == 2
    with pytest.raises(DataError, match="out of range"):
        extract(source, AS_OF, StageOutput(tmp_path), dsn=log)


def test_a_snapshot_that_nobody_may_name_is_read_by_one(
    log: str, postgres: Server, tmp_path: Path
) -> None:
    by_two = written(log, tmp_path / "two")
    everything = make_dsn(postgres.dsn, dbname=parse_dsn(log)["dbname"])
    run(everything, "revoke execute on function pg_export_snapshot() from public")
    assert written(log, tmp_path / "one") == by_two


def slow(monkeypatch: pytest.MonkeyPatch, half: int, seconds: float, **first: str) -> None:
    """Let a half take so long, the other one's ids be an expression where one is given."""
    plain, ids = read._Reading._read, '"s"."user_id"::bigint'

    def reading(self: Any, connection: Any, texts: Any, *rest: Any) -> Any:
        late = f'((select 0 from pg_sleep({seconds})) + "s"."user_id")::bigint'
        own = late if ('"ctid" >=' in texts[0]) == bool(half) else first.get("other", ids)
        assert ids in texts[0]
        return plain(self, connection, [text.replace(ids, own, 1) for text in texts], *rest)

    monkeypatch.setattr(read._Reading, "_read", reading)


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_that_waits_for_the_other_is_not_ended_by_the_server(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: int
) -> None:
    by_two = written(log, tmp_path / "two")
    [(user, name)] = run(log, "select current_user, current_database()")
    setting = f'alter role "{user}" in database "{name}" set idle_in_transaction_session_timeout'
    run(log, f"{setting} = 200")
    slow(monkeypatch, half, 1)
    assert written(log, tmp_path / "slow") == by_two


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_that_fails_ends_the_other(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: int
) -> None:
    slow(monkeypatch, half, 30, other='(1 / ("s"."user_id" - 5))::bigint')
    started = time.monotonic()
    with pytest.raises(DataError, match="division by zero"):
        extract(SOURCE, AS_OF, StageOutput(tmp_path), dsn=log)
    assert time.monotonic() - started < 25
    others = "from pg_stat_activity where datname = current_database()"
    assert run(log, f"select count(*) {others} and pid <> pg_backend_pid()") == [(0,)]


def test_a_change_of_the_table_between_the_two_locks_is_let_through(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "_LOCK_SECONDS", 0.2)
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
