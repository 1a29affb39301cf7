"""A night of a model that learns from features: items that nobody has clicked are on lists."""

from __future__ import annotations

from pathlib import Path

import pytest

import shop as shops
from recjobs import pipeline
from recjobs.errors import ConfigError
from shop import Shop, night

_ITEMS = "RECJOBS__SOURCE__ITEMS__"
#: New in the catalogue a day before the night: one for each group, and one that comes too late.
NEW = """
    alter table app.items add added timestamptz default '2026-01-01', add kind text;
    update app.items set kind = 'group ' || (item_id - 1000) / 20;
    insert into app.items
        select 5000 + n, 'New ' || n, '2026-01-29', 'group ' || n from generate_series(0, 5) n;
    insert into app.items values (6000, 'Too late', '2026-02-20', 'group 1');
"""


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    opened = shops.open_shop(database, tmp_path, monkeypatch, model="content")
    opened.execute(NEW)
    monkeypatch.setenv(f"{_ITEMS}CREATED_AT", "added")
    return opened


def test_new_items_are_recommended_and_explained(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{_ITEMS}CATEGORIES", '["kind"]')
    monkeypatch.setenv("RECJOBS__EVALUATE__BASELINES", '["popular", "content"]')
    pipeline.run_night(shop.settings, night(30))
    rows = shop.execute(
        "select r.user_id, r.item_id, r.source, r.because_features, i.kind, b.kind"
        " from recs.recommendations r join app.items i using (item_id)"
        " left join app.items b on b.item_id = r.because_item_id where r.item_id >= 5000"
    )
    assert {item for _, item, *_ in rows} == set(range(5000, 5006))
    assert {source for _, _, source, *_ in rows} == {"content"}
    reasons = [(kind, because) for *_, kind, because in rows if because]
    assert reasons
    assert all(kind == because for kind, because in reasons)
    assert {(told, f"kind={kind}") for *_, told, kind, because in rows if because} == {
        (f"kind=group {n}", f"kind=group {n}") for n in range(6)
    }
    similar = shop.execute("select similar_item_id from recs.similar_items where item_id = 5002")
    assert len(similar) == 20


def test_without_features_the_night_ends_with_what_to_set(shop: Shop) -> None:
    with pytest.raises(ConfigError, match=r"content needs to know .*Set source.items.text"):
        pipeline.run_night(shop.settings, night(30))


def test_newcomers_get_the_popular_list_of_their_segment(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The groups of the shop's users are the segments: each has its own favourites.
    shop.execute(
        "create table app.users as select distinct user_id, 'region ' || user_id % 6 as region"
        " from app.clicks;"
        "insert into app.users values (9001, 'region 1'), (9002, null)"
    )
    monkeypatch.setenv(f"{_ITEMS}CATEGORIES", '["kind"]')
    for key, value in {"TABLE": "app.users", "SEGMENT": "region", "CREATED_AT": "joined"}.items():
        monkeypatch.setenv(f"RECJOBS__SOURCE__USERS__{key}", value)
    shop.execute("alter table app.users add joined timestamptz default '2026-01-01'")
    live = pipeline.run_night(shop.settings, night(30))
    lists: dict[object, list[object]] = {}
    for segment, item in shop.execute(
        "select segment, item_id from recs.popular_items where rank <= 10 order by segment, rank"
    ):
        lists.setdefault(segment, []).append(item)
    assert sorted(map(str, lists)) == ["all", *(f"region {n}" for n in range(6))]
    own = [int(str(item)) for item in lists["region 1"]]
    assert all(1020 <= item < 1040 for item in own[:5])
    for user, segment in ((9001, "region 1"), (9002, "all")):
        shown = shop.execute(
            f"select item_id, source from recs.recommendations where user_id = {user} order by rank"
        )
        assert shown == [(item, "popular") for item in lists[segment]]
    stranger = shop.execute("select item_id from recs.recommend(123456, 10)")
    assert [item for (item,) in stranger] == lists["all"]
    # The next night judges people whom the champion has never seen.
    shop.execute(
        "insert into app.users values (9003, 'region 2');"
        "insert into app.clicks select 9003, item_id, '2026-01-30 12:00Z' from app.items limit 9"
    )
    later = pipeline.run_night(shop.settings, night(31))
    assert (later.status, later.champion_run_id) == ("stored", live.run_id)
