"""Days kept between nights: the bytes of nights without them, and nobody who is erased."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from recjobs import db
from recjobs.artifacts import StageOutput
from recjobs.config import SourceSettings
from recjobs.errors import ConfigError, DataError
from recjobs.extract import extract
from recjobs.source import plan
from recjobs.source.erase import erase
from recjobs.source.parts import DamagedPartError, Kept, Parts, day_name
from recjobs.source.tables import Tables

FIRST = datetime(2016, 10, 1, tzinfo=UTC)
FILES = ("interactions", "items", "users")
PARIS = {"source_timezone": "Europe/Paris"}

#: SQL type of the time, the settings it needs, and an instant {t} as its value.
TIMES: dict[str, tuple[str, dict[str, Any], str]] = {
    "timestamptz": ("timestamptz", {}, "{t}"),
    "timestamp": ("timestamp", PARIS, "{t} at time zone 'Europe/Paris'"),
    "date": ("date", PARIS, "({t} at time zone 'Europe/Paris')::date"),
    "epoch s": ("bigint", {"time_unit": "s"}, "extract(epoch from {t})::bigint"),
    "epoch ms": ("bigint", {"time_unit": "ms"}, "(extract(epoch from {t}) * 1000)::bigint"),
}


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups that end in the middle of days, kept ones and others."""
    for module in ("log", "written"):
        monkeypatch.setattr(f"recjobs.source.{module}.GROUP_ROWS", 64)


class Job:
    """A table of interactions, settings that keep days, and where they are kept."""

    def __init__(self, dsn: str, folder: Path, time: str = "timestamptz", **settings: Any) -> None:
        self.dsn, self.folder = dsn, folder
        self.type, zone, self.value = TIMES[time]
        self.source = SourceSettings(
            **{"table": "log", "rating": "stars", "event": "kind", "full_every": 9}
            | zone
            | settings
        )
        self.parts = Parts(f"{folder}/kept")
        self.rng = np.random.default_rng(5)

    def execute(self, statement: str) -> None:
        with db.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(statement)

    def create(self, ids: str = "bigint") -> None:
        self.execute(
            f"create table log (user_id {ids}, item_id {ids}, ts {self.type}, stars real,"
            " kind text); create index on log (ts)"
        )

    def add(self, day: float, until: float, rows: int, user: int | None = None) -> None:
        """Insert rows over ``[day, until)``, days since the first; some lie on a border of days."""
        at = self.rng.uniform(day, until, rows)
        at[::7] = np.clip(np.floor(at[::7]), np.ceil(day), np.ceil(until) - 1)
        values = []
        for days in at:
            who = user if user is not None else int(self.rng.integers(1, 9))
            instant = f"timestamptz '{FIRST + timedelta(days=float(days))}'"
            stars = "null" if self.rng.random() < 0.2 else f"{self.rng.integers(-2, 6)}"
            kind = ("null", "'a'", "'b'")[self.rng.integers(3)]
            moment = self.value.format(t=instant)
            values.append(f"('{who}', '{self.rng.integers(1, 6)}', {moment}, {stars}, {kind})")
        self.execute(f"insert into log values {', '.join(values)}")

    def night(self, day: float, *, kept: bool = True, **kwargs: Any) -> StageOutput:
        folder = self.folder / f"night-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        out, as_of = StageOutput(folder), FIRST + timedelta(days=day)
        parts = self.parts if kept else None
        source = kwargs.pop("source", self.source)
        extract(source, as_of, out, dsn=self.dsn, parts=parts, **kwargs)
        return out

    def expect_as_in_full(self, out: StageOutput, day: float) -> None:
        whole = self.night(day, kept=False)
        for name in FILES:
            kept, read = ((o.folder / f"{name}.parquet").read_bytes() for o in (out, whole))
            assert kept == read, name
        assert out.summary["digest"] == whole.summary["digest"]
        assert out.summary["rows"] == whole.summary["rows"]

    def files(self) -> set[str]:
        return {path.name for path in (self.folder / "kept").iterdir()}

    def users(self) -> set[Any]:
        """Whoever occurs in any file that is kept, named or not."""
        found = (self.folder / "kept").glob("*.parquet")
        return {user for path in found for user in pq.read_table(path)["user_id"].to_pylist()}


@pytest.fixture
def job(database: str, tmp_path: Path) -> Job:
    made = Job(database, tmp_path)
    made.create()
    made.add(0, 10, 400)
    return made


@pytest.mark.parametrize("ids", ["bigint", "text", "integer"])
@pytest.mark.parametrize("time", TIMES)
def test_nights_with_kept_days_leave_the_bytes_of_nights_without(
    database: str, tmp_path: Path, time: str, ids: str
) -> None:
    job = Job(database, tmp_path, time, late_days=2)
    job.create(ids)
    job.execute("create table people (user_id text primary key, joined timestamptz)")
    if ids == "text":
        job.source = SourceSettings(**job.source.model_dump() | {"users": {"table": "people"}})
        job.execute("insert into people select n::text from generate_series(1, 6) n")
    job.add(0, 5, 300)
    job.add(7, 10, 150)  # two days without any
    job.execute("insert into log values (1, 1, null, 3, 'a'), (null, 2, null, null, null)")
    job.execute(f"insert into log (user_id, ts) select 3, {job.value.format(t='ts')}"
                " from (values (timestamptz '1999-12-31 23:59:59+00')) as t (ts)")  # fmt: skip
    for day in range(8, 13):
        job.add(day - 2, day, 20)  # late, and not before the window
        job.add(day, day + 1, 30)  # not known yet
        out = job.night(day + (0.5 if day == 10 else 0))
        parts = out.summary["parts"]
        assert parts["full"] == (day == 8)
        if not parts["full"]:
            assert "2016-10-05" <= parts["to"] < day_name(_days(day) - 2)
            assert (parts["from"], parts["changed_days"]) == ("1999-12-31", [])
            assert parts["reused_rows"] >= 300
            assert (out.folder / "parts.json").exists()
        job.expect_as_in_full(out, day + (0.5 if day == 10 else 0))


def _days(day: int) -> int:
    return (FIRST + timedelta(days=day) - datetime(1970, 1, 1, tzinfo=UTC)).days


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Paris", datetime(2016, 10, 30, 1, tzinfo=UTC)),
        ("Europe/Paris", datetime(2016, 3, 27, 1, tzinfo=UTC)),
        ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),  # a day left out
        ("America/New_York", datetime(2016, 11, 6, 6, tzinfo=UTC)),
    ],
)
def test_where_clocks_change_no_row_is_read_twice_or_left_out(
    database: str, zone: str, change: datetime
) -> None:
    with db.connect(database) as connection:
        with connection.cursor() as cursor:
            cursor.execute(
                "create table log (user_id bigint, item_id bigint, ts timestamp);"
                "insert into log select n, 1, %s::timestamp + n * interval '15 minutes'"
                " from generate_series(-300, 300) n",
                [change.replace(tzinfo=None)],
            )
        tables = Tables.look(connection, SourceSettings(table="log", source_timezone=zone))
        time = tables.time(tables.interactions, "time", "ts")

        def users(condition: sql.Composable) -> list[int]:
            query = sql.SQL("select user_id from log as s where {} order by 1").format(condition)
            return [user for (user,) in db.execute(connection, query)]

        until = change + timedelta(days=1)
        everyone = users(time.before(until))
        for quarter in range(-100, 90):
            since = change + timedelta(minutes=15 * quarter)
            before, after = users(time.earlier(since)), users(time.before(until, since))
            assert sorted(before + after) == everyone, since


@pytest.mark.parametrize("time", TIMES)
def test_an_index_serves_what_is_read_of_a_night(database: str, tmp_path: Path, time: str) -> None:
    job = Job(database, tmp_path, time)
    job.create()
    value = job.value.format(t="(timestamptz '2016-10-01' - n * interval '1 hour')")
    job.execute(f"insert into log select n, n, {value} from generate_series(1, 20000) n")
    job.execute("analyze log")
    with db.connect(database) as connection:
        queries = plan(connection, job.source, FIRST, FIRST - timedelta(days=4))
        rows = db.execute(connection, sql.SQL("explain " + queries.interactions))
    assert any("log_ts" in line for (line,) in rows), rows
    assert queries.expected_rows < 1000


def test_a_night_older_than_what_is_kept_takes_what_it_may_and_changes_nothing(job: Job) -> None:
    job.night(9)
    before = {path.name: path.read_bytes() for path in (job.folder / "kept").iterdir()}
    for day in (8, 6.25, 5):
        out = job.night(day)
        assert out.summary["parts"]["to"] == day_name(_days(int(day)) - 4)
        job.expect_as_in_full(out, day)
    assert job.night(1).summary["parts"]["why_full"] == "no kept day lies before its window"
    after = {path.name: path.read_bytes() for path in (job.folder / "kept").iterdir()}
    assert before.keys() == after.keys()
    assert all(before[name] == after[name] for name in before if name != "turn")


def test_rows_that_are_deleted_or_come_too_late_are_noticed_the_same_night(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    job.night(7)
    job.execute("delete from log where ctid in (select ctid from log order by ts limit 3)")
    out = job.night(8)
    assert "the source has" in out.summary["parts"]["why_full"]
    assert out.summary["parts"]["changed_days"] == ["2016-10-01"]
    assert "1 days of the source are not what earlier nights had read (2016-10-01)" in caplog.text
    job.expect_as_in_full(out, 8)

    job.add(2, 3, 5)
    out = job.night(9)
    assert out.summary["parts"]["changed_days"] == ["2016-10-03"]
    job.expect_as_in_full(out, 9)
    assert not job.night(9).summary["parts"]["full"]  # mended


def test_rows_that_are_changed_are_noticed_when_everything_is_read(
    database: str, tmp_path: Path
) -> None:
    job = Job(database, tmp_path, full_every=3)
    job.create()
    job.add(0, 12, 400)
    assert job.night(6).summary["parts"]["full"]
    job.execute("update log set stars = 17 where ts < '2016-10-02' or ts::date = '2016-10-03'")
    for day in (7, 8):
        assert not job.night(day).summary["parts"]["full"]
    out = job.night(9)
    assert out.summary["parts"]["why_full"] == "one night in 3 does (source.full_every)"
    assert out.summary["parts"]["changed_days"] == ["2016-10-01", "2016-10-03"]
    job.expect_as_in_full(out, 9)
    out = job.night(10)
    assert not out.summary["parts"]["full"]
    job.expect_as_in_full(out, 10)

    job.execute("update log set kind = 'z' where ts < '2016-10-02'")
    out = job.night(11, fresh=True)
    assert out.summary["parts"]["why_full"] == "the run is a fresh one"
    assert out.summary["parts"]["changed_days"] == ["2016-10-01"]


def test_what_a_night_finds_changed_is_found_again_where_it_failed(job: Job) -> None:
    job.execute("create table movies (item_id bigint); insert into movies values (1), (2)")
    items = {"table": "movies"}
    source = job.source.model_copy(update={"items": job.source.items.model_validate(items)})
    job.night(9, source=source)
    job.execute("update log set stars = 17 where ts < '2016-10-02'; insert into movies values (1)")
    with pytest.raises(DataError, match="several rows"):
        job.night(10, source=source, fresh=True)
    job.execute("truncate movies; insert into movies values (1), (2)")
    again = job.night(10, source=source, fresh=True)
    assert again.summary["parts"]["changed_days"] == ["2016-10-01"]


def test_a_fresh_run_of_an_older_night_mends_what_it_has_read(job: Job) -> None:
    job.night(9)
    job.execute("update log set stars = 17")
    assert job.night(7, fresh=True).summary["parts"]["changed_days"] == [
        f"2016-10-0{day}" for day in range(1, 5)
    ]
    newest = job.night(9)  # what lies between was not read again
    assert not newest.summary["parts"]["full"]
    stars = {str(r["ts"])[:10]: r["rating"] for r in _rows(newest)}
    assert stars["2016-10-04"] == 17 != stars["2016-10-05"]


def _rows(out: StageOutput) -> list[dict[str, Any]]:
    return list(pq.read_table(out.folder / "interactions.parquet").to_pylist())


@pytest.mark.parametrize("change", ["settings", "version", "database"])
def test_what_others_have_read_is_not_reused(job: Job, postgres: Any, change: str) -> None:
    job.night(7, version="1")
    assert not job.night(8, version="1").summary["parts"]["full"]
    if change == "settings":
        job.source = SourceSettings(**job.source.model_dump() | {"rating": ""})
        out = job.night(8, version="1")
    elif change == "version":
        out = job.night(8, version="2")
    else:
        with postgres.database() as other:
            job.dsn = other
            job.create()
            job.add(0, 8, 50)
            out = job.night(8, version="1")
    assert out.summary["parts"]["why_full"].startswith("the source, its settings or a version")
    assert out.summary["parts"]["changed_days"] == []


def _damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_damage, Path.unlink])
def test_a_damaged_part_is_noticed_and_mended(job: Job, damage: Any) -> None:
    job.night(7)
    damage(next((job.folder / "kept").glob("2016-10-03-*.parquet")))
    out = job.night(8)
    assert out.summary["parts"]["full"]
    assert "2016-10-03" in out.summary["parts"]["why_full"] or damage is Path.unlink
    job.expect_as_in_full(out, 8)
    assert not job.night(8).summary["parts"]["full"]


def test_an_index_that_is_not_understood_counts_as_none(job: Job) -> None:
    job.night(7)
    (job.folder / "kept" / "index.json").write_text('{"origin": 3, "un')
    assert job.night(8).summary["parts"]["why_full"] == "nothing is kept yet"


def test_a_night_killed_while_it_keeps_leaves_what_was_kept(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.night(6)
    files, put = job.files(), Parts.put

    def killed(self: Parts, day: int, *args: Any) -> Any:
        if day == _days(4):
            raise KeyboardInterrupt
        return put(self, day, *args)

    monkeypatch.setattr(Parts, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        job.night(8)
    monkeypatch.setattr(Parts, "put", put)
    assert job.files() > files  # a part that nothing names
    out = job.night(8)
    assert (out.summary["parts"]["full"], out.summary["parts"]["to"]) == (False, "2016-10-03")
    job.expect_as_in_full(out, 8)
    kept = job.parts.kept()
    assert kept is not None
    assert len(job.files()) == len(kept.days) + 2


def _once(act: Any) -> Any:
    """Do something in the middle of a night: everything is read, nothing is kept yet."""
    acts = iter([act])

    def progress(done: float, note: str = "") -> None:
        if "ordered" in note:
            for waiting in acts:
                waiting()

    return progress


def test_of_two_nights_at_once_both_are_right_and_the_last_one_keeps(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    job.night(6)
    found: list[StageOutput] = []
    first = job.night(8, progress=_once(lambda: found.append(job.night(9))))
    assert "another run or an erasure came between" in caplog.text
    job.expect_as_in_full(first, 8)
    job.expect_as_in_full(found[0], 9)
    kept = job.parts.kept()
    assert kept is not None
    assert kept.until == _days(6)
    job.expect_as_in_full(job.night(10), 10)


def test_an_erased_user_is_in_no_file(job: Job) -> None:
    job.add(3, 4, 3, user=77)
    job.execute("insert into log values (78, 1, '2016-09-01', 1, 'a')")  # alone that day
    job.night(8)
    assert {77, 78} < job.users()
    job.execute("delete from log where user_id in (77, 78)")

    assert erase(job.parts, ["77", "78", "4711"]) == {"rows": 4, "days": 2}

    assert not {77, 78} & job.users()
    assert erase(job.parts, ["77"]) == {"rows": 0, "days": 0}
    out = job.night(9)
    assert (out.summary["parts"]["full"], out.summary["parts"]["from"]) == (False, "2016-10-01")
    job.expect_as_in_full(out, 9)
    # What was written anew has the bytes that a night would have written.
    assert job.night(9, fresh=True).summary["parts"]["changed_days"] == []


@pytest.mark.parametrize("full", [False, True])
def test_a_night_under_way_does_not_bring_an_erased_user_back(job: Job, full: bool) -> None:
    job.add(0, 7, 30, user=77)
    job.night(6)

    def erased() -> None:
        job.execute("delete from log where user_id = 77")
        assert erase(job.parts, ["77"])["rows"] > 0

    job.night(8, progress=_once(erased), fresh=full)
    assert 77 not in job.users()
    job.expect_as_in_full(job.night(9), 9)
    assert 77 not in job.users()


def test_an_erasure_is_done_again_where_a_night_came_between(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.add(0, 7, 30, user=77)
    job.night(6)
    commit, left = Parts.commit, 1

    def beaten(self: Parts, *args: Any) -> bool:
        nonlocal left
        left -= 1
        if left >= 0:
            with monkeypatch.context() as patch:
                patch.setattr(Parts, "commit", commit)
                job.night(8)
        return commit(self, *args)

    monkeypatch.setattr(Parts, "commit", beaten)
    assert erase(job.parts, ["77"])["rows"] > 0
    assert 77 not in job.users()
    left = 100
    with pytest.raises(DataError, match="others kept writing"):
        erase(job.parts, ["77"])


def test_who_has_lost_the_turn_removes_nothing_that_the_next_one_has_put(tmp_path: Path) -> None:
    def day(*users: int) -> pa.Table:
        return pa.table({"user_id": pa.array(users, pa.int64())})

    parts = Parts(str(tmp_path / "kept"))
    lost, turn = parts.take_turn(), parts.take_turn()
    put = {10: parts.put(10, day(2))}
    assert parts.commit(Kept("o", 11, 0, {10: parts.put(10, day(1, 2))}), lost) is False
    assert parts.commit(Kept("o", 11, 0, put), turn) is True
    assert [len(rows) for _, rows in parts.read(put)] == [1]
    # What is not all there is not named.
    turn = parts.take_turn()
    put[11] = parts.put(11, day(3))
    next((tmp_path / "kept").glob("1970-01-12-*")).unlink()
    assert parts.commit(Kept("o", 12, 0, put), turn) is False
    assert parts.kept() is None


def test_a_night_that_reads_everything_mends_what_is_missing(job: Job) -> None:
    job.night(8)
    next((job.folder / "kept").glob("2016-10-03-*.parquet")).unlink()
    job.night(8, fresh=True)
    assert job.night(9).summary["parts"]["full"] is False


def test_a_folder_that_cannot_be_used_stops_no_night(
    job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    (job.folder / "kept").write_text("in the way")
    job.expect_as_in_full(job.night(8), 8)
    assert "the kept days can't be used" in caplog.text


def test_erasing_from_damaged_parts_drops_them(job: Job) -> None:
    job.night(8)
    _damage(next((job.folder / "kept").glob("2016-10-03-*.parquet")))
    assert erase(job.parts, ["3"]) == {"rows": 0, "days": 0}
    assert not job.parts.there()


def test_an_id_of_another_type_is_refused(job: Job) -> None:
    job.night(8)
    with pytest.raises(ConfigError, match=r"expected ids of type int64. Received: bob"):
        erase(job.parts, ["bob"])


def test_what_is_not_wanted_any_more_is_removed(job: Job) -> None:
    job.night(8)
    job.night(8, source=SourceSettings(**job.source.model_dump() | {"full_every": 1}))
    assert not job.parts.there()


def test_a_store_that_is_no_local_folder(job: Job) -> None:
    job.parts = Parts("memory://job-days")
    job.night(7)
    out = job.night(8)
    assert not out.summary["parts"]["full"]
    job.expect_as_in_full(out, 8)
    assert erase(job.parts, ["3"])["rows"] > 0
    kept = job.parts.kept()
    assert kept is not None
    [(_, rows), *_] = job.parts.read(kept.days)
    assert 3 not in rows["user_id"].to_pylist()
    with pytest.raises(DamagedPartError):
        list(job.parts.read({0: kept.days[min(kept.days)]}))
    job.parts.drop()
    assert job.parts.kept() is None


def test_a_night_does_not_fail_for_want_of_room_to_keep(
    job: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job.night(7)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Parts, "put", full)
    with caplog.at_level(logging.WARNING):
        job.expect_as_in_full(job.night(8), 8)
    assert "No space left" in caplog.text
