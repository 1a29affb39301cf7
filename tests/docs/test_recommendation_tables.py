"""Every query of docs/recommendation-tables.md runs on two published nights, and answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2.extras
import pytest

import shop as shops
from recjobs import pipeline
from recjobs.db import connect
from recjobs.errors import ConfigError
from servers import Server

PAGE = Path(__file__).parents[2] / "docs" / "recommendation-tables.md"
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def target(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A shop with two nights published, and a row that was set aside."""
    with pytest.MonkeyPatch.context() as monkeypatch, postgres.database() as dsn:
        shop = shops.open_shop(dsn, tmp_path_factory.mktemp("shop"), monkeypatch)
        shop.execute(
            "alter table app.clicks alter user_id drop not null;"
            "insert into app.clicks values (null, 1001, timestamptz '2026-01-02');"
        )
        for days in (25, 26):
            pipeline.run_night(shop.settings, shops.night(days))
        yield dsn


def ask(target: str, query: str, role: str | None = None) -> Rows:
    """Run one query, as another role if one is named, and take back what it changed."""
    with connect(target) as connection:
        with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            if role:
                cursor.execute(f"grant {role} to current_user; set local role {role}")
            cursor.execute(query)
            rows = [dict(row) for row in cursor.fetchall()] if cursor.description else []
        connection.rollback()
    return rows


def the_one(word: str) -> str:
    found = [query for query in QUERIES if word in query]
    assert len(found) == 1, word
    return found[0]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(query.split())[:60])
def test_the_query_runs_and_answers(target: str, query: str) -> None:
    rows = ask(target, query)
    # Nothing is blocked, and every expectation held but the one of the row set aside.
    empty = query.startswith("insert") or "recs.blocked_item" in query or "not passed" in query
    assert empty or rows


def test_the_readers_role_may_ask_all_that_the_page_says_it_may(target: str) -> None:
    for query in QUERIES:
        if query.startswith("insert") or "recs.rejected_row" in query:
            with pytest.raises(ConfigError, match="permission denied"):
                ask(target, query, "recs_reader")
        else:
            assert ask(target, query, "recs_reader") == ask(target, query) or "now()" in query


def test_a_list_by_key_is_what_the_function_gives(target: str) -> None:
    by_key = ask(target, QUERIES[0])
    assert [row["rank"] for row in by_key] == list(range(1, 11))
    by_function = ask(target, the_one("recommend(42, 5)"))
    assert [row["item_id"] for row in by_function] == [row["item_id"] for row in by_key[:5]]


def test_a_stranger_gets_the_popular_items(target: str) -> None:
    rows = ask(target, the_one("recommend(987654321)"))
    popular = ask(target, the_one("segment = 'all'\norder by rank"))
    assert {row["source"] for row in rows} == {"popular"}
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in popular]


def test_a_blocked_item_leaves_the_list_and_the_list_stays_full(target: str) -> None:
    block = the_one("insert into recs.blocked_item")
    top = ask(target, QUERIES[0])[0]["item_id"]
    rows = ask(target, f"{block.replace('1003', str(top))}; {QUERIES[0]}")
    assert len(rows) == 10
    assert top not in {row["item_id"] for row in rows}


def test_churn_is_what_a_loop_finds(target: str) -> None:
    rows = ask(target, "select user_id, run_id, item_id from recs.recommendations_history")
    lists: dict[tuple[int, int], set[int]] = {}
    for row in rows:
        lists.setdefault((row["run_id"], row["user_id"]), set()).add(row["item_id"])
    first, second = sorted({run for run, _ in lists})
    users = {u for run, u in lists if run == first} & {u for run, u in lists if run == second}
    replaced = [len(lists[first, u] - lists[second, u]) / len(lists[first, u]) for u in users]
    answer = ask(target, the_one("as churn"))[0]
    assert float(answer["churn"]) == pytest.approx(sum(replaced) / len(users), abs=1e-4)
    assert answer["users"] == len(users)
    assert answer["churn"] > 0


def test_what_a_user_sees_now_is_the_live_list(target: str) -> None:
    now = ask(target, the_one("with moment"))
    assert [row["item_id"] for row in now] == [row["item_id"] for row in ask(target, QUERIES[0])]


def test_the_row_set_aside_is_there_with_its_reason(target: str) -> None:
    rows = ask(target, the_one("recs.rejected_row"))
    assert [row["reason"] for row in rows] == ["null"]
