"""The job of docs/friends.md, as it stands there: nobody is suggested themself, or a friend."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import shop as shops
from benchmarks import data, friends
from recjobs import migrate, pipeline
from shop import Shop

PAGE = (Path(__file__).parents[2] / "docs" / "friends.md").read_text(encoding="utf-8")
DAYS = 60


def block(language: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def drawn() -> np.ndarray:
    """Links within circles of 30, and some across them."""
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(1, 241), 6)
    circle = np.where(rng.random(len(person)) < 0.9, person % 8, rng.integers(8, size=len(person)))
    other = 8 * rng.integers(30, size=len(person)) + circle + 1
    pairs = np.unique(np.sort(np.stack([person, other], axis=1)), axis=0)
    return pairs[pairs[:, 0] != pairs[:, 1]]


@pytest.fixture(params=["drawn", friends.FOLDER])
def links(request: pytest.FixtureRequest) -> np.ndarray:
    if request.param == "drawn":
        return drawn()
    if not data.available(friends.FOLDER):
        pytest.skip(f"there is no {friends.FOLDER} here")
    return friends.links()


@pytest.fixture
def job(database: str, links: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("RECJOBS_DSN", database)
    (tmp_path / "friends.sql").write_text(block("sql"))
    config = tmp_path / "friends.toml"
    config.write_text(block("toml"))
    opened = Shop(database, config)
    opened.execute(
        "create schema app;"
        "create table app.person (person_id bigint primary key, name text not null);"
        "create table app.friendship (person_id bigint not null, friend_id bigint not null,"
        " since timestamptz not null, primary key (person_id, friend_id))"
    )
    rng = np.random.default_rng(3)
    since = shops.START.timestamp() + rng.random(len(links)) * DAYS * 86_400
    frame = pd.DataFrame(links, columns=["person_id", "friend_id"])
    frame["since"] = pd.to_datetime(since.round(3), unit="s", utc=True)
    people = pd.DataFrame({"person_id": np.unique(links)})
    people["name"] = [f"Person {person}" for person in people["person_id"]]
    shops.insert(opened, "app.person", people)
    shops.insert(opened, "app.friendship", frame)
    migrate.migrate(opened.settings)
    return opened


def test_a_night_suggests_neither_oneself_nor_a_friend(job: Shop, links: np.ndarray) -> None:
    run = pipeline.run_night(job.settings, shops.night(DAYS))
    assert (run.status, run.decision) == ("stored", "promote")
    [(lists, entries, by_model, explained)] = job.execute(
        "select count(distinct user_id), count(*), count(*) filter (where source = 'ials'),"
        " count(because_item_id) from recs.recommendations"
    )
    assert (lists, entries) == (len(np.unique(links)), 10 * len(np.unique(links)))
    assert by_model == explained == entries
    assert job.execute("select * from recs.recommendations where user_id = item_id") == []
    known = job.execute(
        "select * from recs.recommendations r join app.friendship f"
        " on (r.user_id, r.item_id) in ((f.person_id, f.friend_id), (f.friend_id, f.person_id))"
    )
    assert known == []
    through = job.execute(
        "select count(*) from recs.recommendations r join app.friendship f"
        " on (r.user_id, r.because_item_id)"
        " in ((f.person_id, f.friend_id), (f.friend_id, f.person_id))"
    )
    assert through == [(entries,)]
