"""One user's list: for every id type, for users served, short, unknown, not eligible."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql
from rich.console import Console

from recjobs import console, db, migrate
from recjobs.artifacts import RunFolder
from recjobs.columns import IdType
from recjobs.errors import ConfigError, DataError
from recjobs.index import arrow_type
from recjobs.runs import Run, RunKey, RunStore
from recjobs.show import UserView, render, show

SCHEMA = "recs"
AS_OF = datetime(2026, 2, 1, tzinfo=UTC)

#: Of each type: a served user, a short one, one who is not eligible, one nobody has seen; an item.
IDS: dict[IdType, tuple[Any, Any, Any, Any, Callable[[int], Any]]] = {
    "bigint": (2**40, 2, 3, -4, lambda i: 2**33 + i),
    "integer": (1, 2, 3, 4, lambda i: i),
    "uuid": (
        "8c2d1b6e-0000-4000-8000-00000000000a",
        "8c2d1b6e-0000-4000-8000-00000000000b",
        "8c2d1b6e-0000-4000-8000-00000000000c",
        "8c2d1b6e-0000-4000-8000-00000000000d",
        lambda i: f"00000000-0000-4000-8000-{i:012d}",
    ),
    "text": ("ann's [bold]", "bob", "c%s", "zoë", lambda i: f"item-{i} [red]"),
}


def serve(dsn: str, id_type: IdType, root: Path) -> tuple[Run, RunFolder]:
    """Make a job's tables with one live run, written by hand, and the run's artifacts."""
    target = migrate.Target(SCHEMA, id_type, id_type)
    migrate.apply(dsn, target)
    store = RunStore(dsn, SCHEMA)
    key = RunKey(AS_OF, "0" * 16, "0.1.0", 42, 1)
    run = store.open(
        key, job="shop", model="ease", overrides={}, dry_run=False, fresh=False, request=None,
        host="here", artifacts=str(root),
    )  # fmt: skip
    served, short, refused, _, item = IDS[id_type]
    items = [item(i) for i in range(5)]
    values = {
        "run": run.run_id, "served": str(served), "short": str(short), "refused": str(refused),
        "items": [str(i) for i in items], "first": str(items[0]), "last": str(items[4]),
    }  # fmt: skip
    statements = """
        update recs.run set n = 2, lists_in = 'top_n_list', status = 'stored';
        create table recs.top_n_list_1 partition of recs.top_n_list for values in (1);
        insert into recs.live (run_id, since) values (%(run)s, now());
        insert into recs.top_n_list (
          user_id, run_id, item_ids, scores, sources, because_item_ids, because_features, reason
        ) values
          (%(served)s, %(run)s, %(items)s::{ids}[], '{{5,4,3,2,1}}',
           '{{ease,ease,ease,popular,popular}}',
           array[%(last)s, %(last)s, null, null, null]::{ids}[],
           '{{"kind=[b]Crime, moon",NULL,NULL,NULL,NULL}}', null),
          (%(short)s, %(run)s, array[%(first)s]::{ids}[], '{{5}}', '{{popular}}',
           array[null]::{ids}[], null, 'only 1 of 2: there is no other unseen candidate');
        insert into recs.unserved_user values (%(refused)s, %(run)s, 'not active in the source');
        insert into recs.popular_list values
          (%(run)s, 'all', %(items)s::{ids}[], '{{9,8,7,6,5}}');
        insert into recs.item
          select i, 'Thing [b]' || i, true, now(), %(run)s
          from unnest(%(items)s::{ids}[]) as i where i <> %(first)s::{ids};
    """
    with db.connect(dsn) as connection:
        db.execute(connection, sql.SQL(statements).format(ids=sql.SQL(id_type)), values)
    return store.get(run.run_id), artifacts(root, run.run_id, id_type, served, items)


def artifacts(root: Path, run_id: int, id_type: IdType, user: Any, items: list[Any]) -> RunFolder:
    """Twelve interactions of the served user, one of somebody else."""
    ids, folder = arrow_type(id_type), RunFolder(str(root), run_id)
    hours = [AS_OF - timedelta(hours=20 - i) for i in range(13)]
    log = pa.table(
        {
            "user_id": pa.array([user] * 12 + [IDS[id_type][1]], ids),
            "item_id": pa.array([items[i % 5] for i in range(13)], ids),
            "ts": pa.array(hours, pa.timestamp("us", "UTC")),
            "rating": pa.array([None, *[4.5] * 12], pa.float32()),
            "event": pa.array([*["[view]"] * 11, None, None], pa.string()),
        }
    )
    with folder.writing("validate") as out:
        pq.write_table(log, out.folder / "interactions.parquet")
    titles = [None, *(f"Thing [b]{i}" for i in items[1:])]
    with folder.writing("extract") as out:
        rows = pa.table({"item_id": pa.array(items, ids), "title": pa.array(titles, pa.string())})
        pq.write_table(rows, out.folder / "items.parquet")
    return folder


@pytest.fixture(params=list(IDS))
def id_type(request: pytest.FixtureRequest) -> IdType:
    kind: IdType = request.param
    return kind


def terminal(view: UserView, width: int = 120) -> str:
    printed = io.StringIO()
    Console(width=width, file=printed).print(render(view))
    return printed.getvalue()


def test_a_served_user_of_every_id_type(database: str, tmp_path: Path, id_type: IdType) -> None:
    live, folder = serve(database, id_type, tmp_path)
    user, *_, item = IDS[id_type]
    view = show(database, SCHEMA, str(user), 2, live=live, folder=folder)
    assert (view.user_id, view.status, view.reason) == (user, "served", None)
    assert (view.run_id, view.as_of, view.model) == (live.run_id, AS_OF, "ease")
    assert [(i.rank, i.item_id, i.title) for i in view.items] == [
        (1, item(0), None),
        (2, item(1), f"Thing [b]{item(1)}"),
    ]
    assert [(i.because_item_id, i.because_title) for i in view.items] == [
        (item(4), f"Thing [b]{item(4)}")
    ] * 2
    assert [i.because_features for i in view.items] == ["kind=[b]Crime, moon", None]
    assert view.interactions == 12
    assert len(view.history) == 10
    newest = view.history[0]
    assert (newest.item_id, newest.title) == (item(1), f"Thing [b]{item(1)}")
    assert (newest.ts, newest.rating, newest.event) == (AS_OF - timedelta(hours=9), 4.5, None)
    assert view.history[-1].event == "[view]"
    printed = terminal(view)
    assert f"User {user}: served" in printed
    assert f"Thing [b]{item(1)} ({item(1)})" in printed  # no markup is read
    assert "kind=[b]Crime, moon" in printed
    assert "The newest of 12 interactions" in printed
    assert "4.5 [view]" in printed


def test_a_longer_list_takes_the_spares(database: str, tmp_path: Path) -> None:
    live, folder = serve(database, "bigint", tmp_path)
    for n in (99, 2**63 - 1):
        view = show(database, SCHEMA, str(2**40), n, live=live, folder=folder)
        assert [i.source for i in view.items] == ["ease"] * 3 + ["popular"] * 2


def test_without_a_number_the_list_is_what_readers_get(database: str, tmp_path: Path) -> None:
    live, folder = serve(database, "bigint", tmp_path)
    with db.connect(database) as connection:
        text = sql.SQL("select item_id from recs.recommendations where user_id = {}")
        readers = db.execute(connection, text.format(sql.Literal(2**40)))
    view = show(database, SCHEMA, str(2**40), live=live, folder=folder)
    assert [(i.item_id,) for i in view.items] == readers
    assert len(readers) == live.n == 2  # of the five that are stored


def test_a_short_list_says_why(database: str, tmp_path: Path) -> None:
    live, folder = serve(database, "integer", tmp_path)
    view = show(database, SCHEMA, "2", 2, live=live, folder=folder)
    assert view.status == "short"
    assert len(view.items) == 1
    assert "(only 1 of 2: there is no other unseen candidate)" in terminal(view)


def test_who_is_not_eligible_is_told_so_and_gets_nothing(database: str, tmp_path: Path) -> None:
    live, folder = serve(database, "integer", tmp_path)
    view = show(database, SCHEMA, "3", 2, live=live, folder=folder)
    assert (view.status, view.reason) == ("not eligible", "not active in the source")
    assert view.items == ()
    assert "not eligible: an application gets no items" in terminal(view)


def test_an_unknown_user_gets_the_popular_items_and_is_told_so(
    database: str, tmp_path: Path, id_type: IdType
) -> None:
    live, folder = serve(database, id_type, tmp_path)
    stranger, item = IDS[id_type][3:]
    view = show(database, SCHEMA, str(stranger), 3, live=live, folder=folder)
    assert (view.status, view.interactions, view.history) == ("unknown", 0, ())
    assert [i.item_id for i in view.items] == [item(0), item(1), item(2)]
    printed = terminal(view)
    assert "unknown to the live run: an application gets the popular items" in printed
    assert "The popular items" in printed
    assert "History: none before as_of" in printed


def test_a_blocked_item_is_gone(database: str, tmp_path: Path) -> None:
    live, folder = serve(database, "integer", tmp_path)
    with db.connect(database) as connection:
        db.execute(connection, sql.SQL("insert into recs.blocked_item (item_id) values (0)"))
    view = show(database, SCHEMA, "1", 2, live=live, folder=folder)
    assert [(i.rank, i.item_id) for i in view.items] == [(1, 1), (2, 2)]


def test_before_the_first_publish(database: str) -> None:
    migrate.apply(database, migrate.Target(SCHEMA, "bigint", "bigint"))
    view = show(database, SCHEMA, "1", 10, live=None, folder=None)
    assert (view.status, view.items, view.run_id) == ("nothing live", (), None)
    assert "no run is live yet" in terminal(view)
    assert asdict(view)["as_of"] is None


def test_artifacts_out_of_reach_cost_the_history_alone(database: str, tmp_path: Path) -> None:
    live, _ = serve(database, "integer", tmp_path)
    gone = RunFolder(str(tmp_path / "elsewhere"), live.run_id, "another-host")
    view = show(database, SCHEMA, "1", 2, live=live, folder=gone)
    assert len(view.items) == 2
    assert view.interactions is None
    assert "host another-host" in view.history_missing
    assert "History: the run's artifacts are out of reach" in terminal(view)


def test_tables_that_were_never_made(database: str) -> None:
    with pytest.raises(ConfigError, match="recjobs migrate"):
        show(database, SCHEMA, "1", 10, live=None, folder=None)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bigint", "ann"), ("bigint", "1.0"), ("bigint", "1_000"), ("bigint", "٣"), ("bigint", ""),
        ("bigint", str(2**63)), ("integer", str(2**31)), ("integer", "9" * 5000),
        ("uuid", "42"), ("text", ""), ("text", "a\0b"), ("text", "a\udcff"),
    ],
)  # fmt: skip
def test_an_id_that_does_not_fit_names_the_type(database: str, kind: IdType, text: str) -> None:
    migrate.apply(database, migrate.Target(SCHEMA, kind, kind))
    with pytest.raises(DataError, match=f"expected one of type {kind}") as raised:
        show(database, SCHEMA, text, 10, live=None, folder=None)
    assert raised.value.exit_code == 3


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bigint", str(-(2**63))),
        ("integer", str(2**31 - 1)),
        ("uuid", "{8C2D1B6E" + "0" * 24 + "}"),
    ],
)
def test_an_id_at_the_edge_of_its_type_fits(database: str, kind: IdType, text: str) -> None:
    migrate.apply(database, migrate.Target(SCHEMA, kind, kind))
    assert show(database, SCHEMA, text, 10, live=None, folder=None).status == "nothing live"


def test_for_machines_it_is_json_with_iso_times(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live, folder = serve(database, "bigint", tmp_path)
    view = show(database, SCHEMA, str(2**40), 1, live=live, folder=folder)
    console.print_json(asdict(view))
    said = json.loads(capsys.readouterr().out)
    assert said["as_of"] == "2026-02-01T00:00:00+00:00"
    assert said["items"][0]["item_id"] == 2**33
    assert said["history"][0]["ts"] == "2026-01-31T15:00:00+00:00"
