"""A small shop with tastes: users of a group choose mostly among the group's items.

Popularity is skewed within a group, so that a personalized model has something to find and
popularity is a fair floor. Everything is drawn from one seed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recjobs import migrate
from recjobs.config import Settings, load_settings
from recjobs.db import connect

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30

TOML = """
[job]
name = "shop"
training_threads = 2
[source]
dsn_env = "SHOP_SOURCE_DSN"
table = "app.clicks"
time = "clicked_at"
[source.items]
table = "app.items"
title = "title"
[target]
dsn_env = "SHOP_TARGET_DSN"
[holdout]
days = 4
[model]
name = "{model}"
[evaluate]
bootstrap = 200
[artifacts]
root = "artifacts"
[lease]
ttl_seconds = 600
"""


@dataclass(frozen=True, slots=True)
class Shop:
    """A source database with clicks, and a job that recommends from them."""

    source: str
    config: Path

    @property
    def settings(self) -> Settings:
        """The job's settings, read anew."""
        return load_settings(self.config)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run a statement on the source."""
        with connect(self.source) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def clicks(
    *, users: int = 240, items: int = 120, groups: int = 6, per_user: int = 24, seed: int = 7
) -> pd.DataFrame:
    """Draw user_id, item_id, clicked_at: per_user clicks each, spread over DAYS days."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(1, users + 1), per_user)
    own = rng.random(len(user)) < 0.9
    group = np.where(own, user % groups, rng.integers(groups, size=len(user)))
    size = items // groups
    rank = np.minimum(rng.geometric(0.12, size=len(user)) - 1, size - 1)
    frame = pd.DataFrame(
        {
            "user_id": user,
            "item_id": 1000 + group * size + rank,
            "clicked_at": START.timestamp() + rng.random(len(user)) * DAYS * 86_400,
        }
    )
    frame["clicked_at"] = pd.to_datetime(frame["clicked_at"].round(3), unit="s", utc=True)
    return frame.drop_duplicates(["user_id", "item_id"]).reset_index(drop=True)


def open_shop(
    source: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    target: str | None = None,
    model: str = "ease",
) -> Shop:
    """Make the application's tables and the job's, and write the job's settings."""
    monkeypatch.setenv("SHOP_SOURCE_DSN", source)
    monkeypatch.setenv("SHOP_TARGET_DSN", target or source)
    config = folder / "shop.toml"
    config.write_text(TOML.format(model=model))
    shop = Shop(source, config)
    shop.execute(
        "create schema app;"
        "create table app.items (item_id bigint primary key, title text not null);"
        "create table app.clicks (user_id bigint not null, item_id bigint not null,"
        " clicked_at timestamptz not null);"
        "create index on app.clicks (clicked_at);"
    )
    frame = clicks()
    titles = pd.DataFrame({"item_id": sorted(frame["item_id"].unique())})
    titles["title"] = [f"Thing <{item}>" for item in titles["item_id"]]
    insert(shop, "app.items", titles)
    insert(shop, "app.clicks", frame)
    migrate.migrate(shop.settings)
    return shop


def insert(shop: Shop, table: str, frame: pd.DataFrame) -> None:
    """Copy a frame's rows into a table of the source."""
    text = io.StringIO(frame.to_csv(index=False, header=False))
    with connect(shop.source) as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"copy {table} from stdin with (format csv)", text)


def night(days: int) -> datetime:
    """Return the as_of so many days after the shop opened."""
    return START + timedelta(days=days)
