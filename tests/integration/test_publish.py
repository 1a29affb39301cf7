"""What readers find after a publish, whoever they are and whatever happens meanwhile."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from published import IDS, MARGIN, Job, N
from recjobs import companions, lease, live, partitions, pointer, publish
from recjobs.artifacts import RunFolder
from recjobs.columns import ID_TYPES, IdType
from recjobs.errors import ConfigError, DatabaseError, LeaseHeldError
from recjobs.index import Index
from recjobs.runs import Run


@pytest.fixture
def job(each_database: str, tmp_path: Path) -> Job:
    """A job with tables, on every server there is."""
    return Job(each_database, tmp_path).migrated()


@pytest.mark.parametrize("item_type", ID_TYPES)
@pytest.mark.parametrize("user_type", ID_TYPES)
def test_every_id_type_comes_back_as_it_went_in(
    database: str, tmp_path: Path, user_type: IdType, item_type: IdType
) -> None:
    job = Job(database, tmp_path, user_type=user_type, item_type=item_type).migrated()
    run = job.open(1)
    job.artifacts(run, short=[3])
    assert job.publish(run)["live"]

    text = "select user_id, array_agg(item_id order by rank) from recs.recommendations group by 1"
    found = dict(job.rows(text))
    expected = {
        job.user(number): [job.item(run, place) for place in range(1 if number == 3 else N)]
        for number in range(job.users)
        if number % 10 != 9
    }
    if "uuid" in (user_type, item_type):
        # The driver reads an array of uuid as text, as it reads one uuid.
        found = {user: _list(items) for user, items in found.items()}
    assert found == expected
    [(because, features, score, source, as_of)] = job.rows(
        "select because_item_id, because_features, score, source, as_of from recs.recommendations"
        " where user_id = %s and rank = 1", job.user(0),
    )  # fmt: skip
    assert (because, score, source) == (job.item(run, 90), 1.0, "mf")
    assert features == "kind=Crime, moon"
    assert as_of == run.key.as_of


def _list(value: Any) -> list[Any]:
    return value.strip("{}").split(",") if isinstance(value, str) else value


def test_view_and_function_agree(job: Job) -> None:
    job.night(1)
    columns = (
        "rank, item_id, score, source, because_item_id, run_id, as_of, model, published_at, "
        "because_features"
    )
    user = job.user(4)
    view = job.rows(f"select {columns} from recs.recommendations where user_id = %s", user)
    function = job.rows(f"select {columns} from recs.recommend(%s)", user)
    assert len(view) == N
    assert function == view
    names = "select attname from pg_attribute where attrelid = %s::regclass order by attnum"
    of_view = [name for (name,) in job.rows(names, "recs.recommendations")]
    assert of_view == ["user_id", *columns.split(", ")]


def test_an_unseen_user_gets_the_popular_items(job: Job) -> None:
    run = job.night(1)
    columns = "rank, item_id, source, because_item_id, because_features"
    rows = job.rows(f"select {columns} from recs.recommend(%s, 2)", -1)
    assert rows == [(k, job.item(run, 89 + k), "popular", None, None) for k in (1, 2)]
    assert job.rows("select * from recs.recommendations where user_id = -1") == []


def test_a_text_id_is_looked_up_whatever_its_collation(each_database: str, tmp_path: Path) -> None:
    job = Job(each_database, tmp_path, user_type="text").migrated()
    job.night(1)
    job.rows('create table public.people (id text collate "POSIX")')
    for number in (4, 9):  # the ninth has no list
        job.rows("insert into public.people values (%s)", job.user(number))
    found = job.rows("select p.id from public.people as p, recs.recommend(p.id)")
    assert found == [(job.user(4),)] * N


def test_a_larger_n_gives_all_there_is_and_a_silly_one_nothing(job: Job) -> None:
    job.night(1)
    count = "select count(*) from recs.recommend(%s, %s)"
    assert job.rows(count, job.user(0), N + MARGIN + 100) == [(N + MARGIN,)]
    assert job.rows(count, job.user(0), 0) == job.rows(count, job.user(0), -3) == [(0,)]


def test_nothing_is_live_before_the_first_publish(job: Job) -> None:
    assert job.rows("select * from recs.recommend(1)") == []
    assert job.rows("select * from recs.recommendations") == []
    assert job.rows("select * from recs.user_status") == []


def test_a_blocked_item_is_gone_at_once_and_lists_stay_full(job: Job) -> None:
    run = job.night(1)
    job.rows("insert into recs.blocked_item (item_id) values (%s)", job.item(run, 1))
    kept = [job.item(run, place) for place in (0, 2, 3)]
    for text in (
        "select item_id, rank from recs.recommendations where user_id = %s order by rank",
        "select item_id, rank from recs.recommend(%s) order by rank",
    ):
        assert job.rows(text, job.user(0)) == list(zip(kept, (1, 2, 3), strict=True))
    hidden = [(job.item(run, 1),)]
    assert not set(hidden) & set(job.rows("select similar_item_id from recs.similar_items"))
    job.rows("insert into recs.blocked_item (item_id) values (%s)", job.item(run, 90))
    popular = job.rows("select item_id from recs.popular_items order by rank")
    assert popular == [(job.item(run, 90 + k),) for k in (1, 2, 3)]
    # Everything blocked: an empty list, which is not the popular one's business.
    for place in (0, 2, 3, 4):
        job.rows("insert into recs.blocked_item (item_id) values (%s)", job.item(run, place))
    assert job.rows("select * from recs.recommend(%s)", job.user(0)) == []
    [(status, listed, reason)] = job.rows(
        "select status, listed, reason from recs.user_status where user_id = %s", job.user(0)
    )
    assert (status, listed) == ("empty", 0)
    assert "blocked" in reason


def test_every_known_user_is_served_or_has_a_reason(job: Job) -> None:
    run = job.open(1)
    job.artifacts(run, short=[3])
    job.publish(run)
    rows = job.rows("select user_id, status, listed, reason from recs.user_status")
    found = {row[0]: row[1:] for row in rows}
    assert len(found) == len(rows) == job.users
    assert found[job.user(0)] == ("served", N, None)
    assert found[job.user(3)] == ("short", 1, "too few candidates")
    assert found[job.user(9)] == ("not eligible", 0, companions.INACTIVE)
    assert found[job.user(19)] == ("not eligible", 0, companions.NOT_A_USER)


def test_similar_items_come_ranked(job: Job) -> None:
    run = job.night(1)
    rows = job.rows(
        "select rank, similar_item_id from recs.similar_items where item_id = %s order by rank",
        job.item(run, 2),
    )
    assert rows == [(1, job.item(run, 0)), (2, job.item(run, 1))]


def test_a_backfill_adds_items_and_changes_none(job: Job) -> None:
    newest = job.open(5)
    job.publish(newest)
    # The backfill describes its own items, and one of the newest run's, differently.
    older = job.open(2)
    job.publish(older)
    job.rows("update recs.item set title = 'mended' where item_id = %s", job.item(newest, 0))
    job.rows("update recs.run set lists_in = null where run_id = %s", older.run_id)
    describe = "select title, available, run_id from recs.item where item_id = %s"
    assert job.rows(describe, job.item(newest, 0)) == [("mended", False, newest.run_id)]
    assert job.rows(describe, job.item(newest, 1)) == [(None, True, newest.run_id)]
    assert job.rows(describe, job.item(older, 0)) == [
        (f"first of {older.run_id}", False, older.run_id)
    ]


def test_one_user_is_looked_up_by_key_in_the_live_partition_alone(job: Job) -> None:
    for number in range(1, 5):
        job.night(number)
    for text in (
        "select * from recs.recommendations where user_id = 4 + 2^40::bigint",
        "select * from recs.recommendations_history where user_id = 4 + 2^40::bigint",
        "select * from recs.user_status where user_id = 4 + 2^40::bigint",
    ):
        # Small tables are scanned whole whatever their indexes: as if they were large ones.
        plan = _plan(job, text)
        scans = [node for node in plan if str(node.get("Relation Name", "")).startswith("top_n_")]
        assert scans
        assert {node["Node Type"] for node in scans} <= {
            "Index Scan", "Index Only Scan", "Bitmap Heap Scan"
        }  # fmt: skip
        executed = [node for node in scans if node["Actual Loops"]]
        if "history" not in text:
            assert [node["Relation Name"] for node in executed] == [f"top_n_list_{job.live()}"]
            # Once for the list, not once for every run that there is.
            counted = [node for node in plan if node["Node Type"] in ("WindowAgg", "Aggregate")]
            assert [node["Actual Loops"] for node in counted] == [1]


def _plan(job: Job, text: str) -> list[dict[str, Any]]:
    with psycopg2.connect(job.dsn) as connection, connection.cursor() as cursor:
        cursor.execute("set enable_seqscan = off")
        cursor.execute("explain (analyze, format json, costs off, timing off) " + text)
        [(plan,)] = cursor.fetchall()
    connection.close()
    plan = json.loads(plan) if isinstance(plan, str) else plan

    def walk(node: dict[str, Any]) -> list[dict[str, Any]]:
        return [node, *itertools.chain.from_iterable(map(walk, node.get("Plans", [])))]

    return walk(plan[0]["Plan"])


def test_readers_never_see_a_mixed_a_partial_or_an_empty_list(job: Job) -> None:
    first = job.night(0)
    bad: list[Any] = []
    reads: list[int] = []
    stop = threading.Event()
    user = job.user(4)
    queries = {
        "plain": "select run_id, item_id from recs.recommendations"
        " where user_id = %s order by rank",
        "prepared": "execute by_user (%s)",
        "function": "select run_id, item_id from recs.recommend(%s) order by rank",
        "unseen": "select run_id, item_id from recs.recommend(-1) order by rank",
        "everyone": "select run_id, item_id from recs.recommendations where user_id = %s"
        " and (select count(*) from recs.recommendations) = 54 order by rank",
    }

    def read(name: str, text: str) -> None:
        connection = psycopg2.connect(job.dsn)
        connection.autocommit = True
        newest, n = 0, 0
        with connection.cursor() as cursor:
            if name == "prepared":
                plain = queries["plain"].replace("%s", "$1")
                cursor.execute(f"prepare by_user (bigint) as {plain}")
            while not stop.is_set():
                cursor.execute(text, (user,) if "%s" in text else None)
                rows = cursor.fetchall()
                runs = {run_id for run_id, _ in rows}
                start = 90 if name == "unseen" else 0
                whole = [IDS["bigint"](run * 100 + start + k) for run in runs for k in range(N)]
                if len(runs) != 1 or [item for _, item in rows] != whole or min(runs) < newest:
                    bad.append((name, newest, rows))
                newest, n = max(runs, default=0), n + 1
        connection.close()
        reads.append(n)

    threads = [threading.Thread(target=read, args=named) for named in queries.items()]
    threads += [threading.Thread(target=read, args=("plain", queries["plain"])) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 21):
            job.night(number)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert bad == []
    assert job.live() == first.run_id + 20
    assert len(reads) == len(threads)
    assert min(reads) > 20


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait no minute for a reader that does not end."""
    monkeypatch.setattr(pointer, "SETTLE_SECONDS", (0.1, 0.3))


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_transaction_open_across_a_flip_keeps_whole_lists(
    job: Job, level: str, impatient: None
) -> None:
    first = job.night(1)
    connection = psycopg2.connect(job.dsn)
    connection.set_session(isolation_level=level)
    text = (
        "select distinct run_id, count(*) from recs.recommendations where user_id = %s group by 1"
    )
    with connection.cursor() as cursor:
        cursor.execute(text, (job.user(4),))
        assert cursor.fetchall() == [(first.run_id, N)]
        second = job.open(2)
        job.publish(second, publish={"attached": 2})  # the least: what was live has readers still
        cursor.execute(text, (job.user(4),))
        seen = first if level == "REPEATABLE READ" else second
        assert cursor.fetchall() == [(seen.run_id, N)]
    connection.close()


def test_a_prepared_statement_of_an_open_transaction_is_waited_for(job: Job) -> None:
    """It takes a new snapshot each time, and hears of no new partition under the locks it has."""
    first = job.night(1)
    where = pointer.Job(job.dsn, job.schema, lock_timeout_ms=100)
    with closing(psycopg2.connect(job.dsn)) as app, app.cursor() as cursor:
        cursor.execute(
            "prepare listed (bigint) as select run_id from recs.recommendations where user_id = $1"
        )

        def listed(user: int) -> set[tuple[int]]:
            cursor.execute("execute listed (%s)", (job.user(user),))
            return set(cursor.fetchall())

        assert listed(4) == {(first.run_id,)}
        publishing = threading.Thread(target=lambda: job.night(2))
        publishing.start()
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            assert listed(5) == {(first.run_id,)}
        assert publishing.is_alive()
        pointer.locked(where, lambda _: None)  # whoever else moves lists need not wait
        app.commit()
        publishing.join()
        assert listed(4) == {(job.live(),)} != {(first.run_id,)}


def test_a_publish_that_waits_no_longer_names_the_readers_it_left(
    job: Job, impatient: None
) -> None:
    job.night(1)
    with closing(psycopg2.connect(job.dsn)) as analyst, analyst.cursor() as cursor:
        cursor.execute("select count(*) from recs.recommendations")
        run = job.open(2)
        (warning,) = job.publish(run)["warnings"]
        assert f"(process {analyst.info.backend_pid})" in warning
        assert job.live() == run.run_id


def test_grants_and_dependent_views_survive_a_flip(job: Job) -> None:
    job.night(1)
    job.rows("create view public.favourites as select * from recs.recommendations where rank = 1")
    job.rows("grant select on recs.recommendations to public")
    before = job.rows(
        "select relacl::text from pg_class where oid = 'recs.recommendations'::regclass"
    )
    run = job.night(2)
    after = job.rows(
        "select relacl::text from pg_class where oid = 'recs.recommendations'::regclass"
    )
    assert before == after
    assert job.rows("select distinct run_id from public.favourites") == [(run.run_id,)]


class Killed(BaseException):
    """Ends a publish as a kill would: nothing that follows is run."""


_STEPS: list[tuple[Any, str]] = [
    (partitions, "create"),
    (partitions, "load"),
    (partitions, "_seal"),
    (partitions, "complete"),
    (companions, "load"),
    (companions, "_load_items"),
    (live, "publish"),
    (partitions, "attach"),
    (pointer, "record"),
    (pointer, "settle"),
    (pointer, "point"),
    (publish, "retain"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("module", "name"), _STEPS, ids=[name for _, name in _STEPS])
def test_a_killed_publish_ends_as_if_it_had_not_been_killed(
    database: str,
    tmp_path: Path,
    module: Any,
    name: str,
    after: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job(database, tmp_path).migrated()
    first = job.night(1)
    run = job.open(2)
    whole: Callable[..., Any] = getattr(module, name)

    def killed(*args: Any, **kwargs: Any) -> None:
        if after:
            whole(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module, name, killed)
        with pytest.raises(Killed):
            job.publish(run)
    assert job.live() in (first.run_id, run.run_id)
    assert job.rows("select count(*) from recs.recommendations") == [(N * 18,)]

    assert job.publish(run)["live"]
    assert job.publish(run)["live"]  # and once more, for a retry of a stage that had finished
    assert job.live() == run.run_id
    assert job.partitions() == {"top_n_list": [f"top_n_list_{r.run_id}" for r in (first, run)]}
    assert job.rows("select count(*) from recs.similar_list") == [(2 * (N + MARGIN),)]
    assert job.rows("select run_id, live_until is null from recs.publication order by 1") == [
        (first.run_id, False),
        (run.run_id, True),
    ]


class Repaired(Job):
    """The same job after its source was mended: other items for the same users."""

    def item(self, run: Run, place: int) -> Any:
        """Return another item."""
        return super().item(run, place) + 50


@pytest.mark.parametrize("step", ["complete", "settle"])
def test_lists_of_an_earlier_attempt_are_not_published(
    database: str, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(database, tmp_path).migrated()
    first, run = job.night(1), job.open(2)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(partitions if step == "complete" else pointer, step, killed)
        with pytest.raises(Killed):
            job.publish(run)
    job.rows(
        "insert into recs.similar_user_list values (%s, %s, '{}', '{}')", job.user(0), run.run_id
    )
    RunFolder(run.artifacts, run.run_id).remove()  # as with the disk of a container
    again = Repaired(database, tmp_path)
    assert again.publish(run)["live"]
    lists = again.rows("select distinct item_ids from recs.top_n_list where run_id = 2")
    assert lists == [([again.item(run, place) for place in range(N + MARGIN)],)]
    assert job.partitions() == {"top_n_list": [f"top_n_list_{r.run_id}" for r in (first, run)]}
    assert job.rows("select * from recs.similar_user_list") == []


def test_a_retry_goes_on_once_readers_of_the_earlier_lists_have_ended(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(database, tmp_path).migrated()
    job.night(1)
    run = job.open(2)

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pointer, "settle", killed)
        with pytest.raises(Killed):
            job.publish(run)
    again = Repaired(database, tmp_path)
    RunFolder(run.artifacts, run.run_id).remove()
    with closing(psycopg2.connect(database)) as reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from recs.top_n_list")
        with pytest.raises(DatabaseError):
            again.publish(run, publish={"lock_timeout_ms": 100})
    assert again.publish(run)["live"]
    lists = again.rows("select distinct item_ids from recs.top_n_list where run_id = 2")
    assert lists == [([again.item(run, place) for place in range(N + MARGIN)],)]


def test_what_goes_with_the_lists_waits_for_them_however_long(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(database, tmp_path).migrated()
    [(role, name)] = job.rows("select current_user, current_database()")
    limit = "set idle_in_transaction_session_timeout = '200ms'"
    job.rows(f'alter role "{role}" in database "{name}" {limit}')
    beside, lists, written = companions.load, publish.load, threading.Event()

    def quick(*args: Any) -> None:
        beside(*args)
        written.set()

    def slow(*args: Any) -> bool:
        assert written.wait(300)
        time.sleep(1)
        return lists(*args)

    monkeypatch.setattr(companions, "load", quick)
    monkeypatch.setattr(publish, "load", slow)
    run = job.night(1)
    assert job.live() == run.run_id


def test_items_are_available_as_the_run_took_them(database: str, tmp_path: Path) -> None:
    job = Job(database, tmp_path).migrated()
    run = job.night(1)
    index = Index.load(RunFolder(run.artifacts, run.run_id).path("index", "items.parquet"))
    found = dict(job.rows("select item_id, available from recs.item"))
    assert found == {item: item != job.item(run, 0) for item in index.ids.to_pylist()}


def test_without_the_lease_nothing_goes_live(job: Job) -> None:
    first = job.night(1)
    run = job.open(2)
    folder = job.artifacts(run)
    with pytest.raises(LeaseHeldError, match="nothing goes live"):
        publish.publish(job.settings(), run, folder)
    assert job.live() == first.run_id


def test_a_lease_lost_between_attach_and_flip_stops_the_flip(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = job.night(1)
    run, other = job.open(2), job.open(3)

    def stolen(_: pointer.Job) -> None:
        job.rows("update recs.lease set expires_at = now() - interval '1 second'")
        assert job.store.try_lease(other.run_id, "elsewhere:1", 600)

    monkeypatch.setattr(lease, "beat", lambda ttl: 600.0)  # or it is renewed between the two
    monkeypatch.setattr(pointer, "settle", stolen)
    with pytest.raises(LeaseHeldError):
        job.publish(run)
    assert job.live() == first.run_id


def test_ids_of_another_type_are_refused(job: Job, tmp_path: Path) -> None:
    job.night(1)
    other = job.of_types("text", "bigint")
    run = other.open(2)
    with pytest.raises(ConfigError, match=r"user_id: the schema was made for ids of type bigint"):
        other.publish(run)


def test_a_lock_that_is_held_too_long_is_a_database_error(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = job.open(1)
    monkeypatch.setattr(pointer, "ATTEMPTS", 2)
    holder = psycopg2.connect(job.dsn)
    with holder.cursor() as cursor:
        cursor.execute("lock table recs.top_n_list in share update exclusive mode")
        with pytest.raises(DatabaseError, match="lock timeout"):
            job.publish(run, publish={"lock_timeout_ms": 50})
    holder.close()
    assert job.publish(run)["live"]


def test_the_jobs_of_two_schemas_live_side_by_side(job: Job) -> None:
    other = Job(job.dsn, job.folder / "other", schema="other").migrated()
    run = job.night(1)
    theirs = other.night(1)
    assert (job.live(), other.live()) == (run.run_id, theirs.run_id)
    job.rows("drop schema other cascade")
    assert job.rows("select count(*) from recs.recommendations") == [(N * 18,)]
