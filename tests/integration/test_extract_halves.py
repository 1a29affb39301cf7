"""A large table is read by two sessions: the same rows, of one snapshot."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import sql

from recjobs import db
from recjobs.artifacts import StageOutput, file_sha256
from recjobs.config import SourceSettings
from recjobs.errors import DatabaseError, DataError
from recjobs.extract import extract
from recjobs.source import plan, queries, read

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
    with read._snapshot(log) as first, ExitStack() as stack:
        [(before,)] = db.execute(first, sql.SQL("select count(*) from log"))
        run(log, "delete from log where user_id < 9")
        second = read._beside(log, first, stack)
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
