"""What a night costs, as far as it can be counted: queries, bytes, imports. Never seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import shop as shops
from published import Job
from recjobs import db, partitions
from recjobs.config import SourceSettings
from recjobs.copy_binary import encode
from recjobs.source import plan

NIGHT = """
import sys
from contextlib import contextmanager
from recjobs import pipeline
from recjobs.config import load_settings

@contextmanager
def watch(stage):
    yield lambda done, note="": None
    print(stage, *sorted({"tensorflow", "keras"} & set(sys.modules)))

import shop
pipeline.run_night(load_settings(sys.argv[1]), shop.night(24), watch=watch)
"""


def test_only_what_the_source_has_is_asked_for(database: str) -> None:
    with db.connect(database) as connection:
        db.execute(connection, db.sql.SQL(
            "create table log (user_id bigint not null, item_id bigint not null,"
            " ts timestamptz not null, stars real, kind text)"
        ))  # fmt: skip
        source = SourceSettings(table="log")
        text = plan(connection, source, shops.START).interactions
        asked = text.split("select", 1)[1].split("from", 1)[0].replace('"s".', "")
        assert " ".join(asked.split()) == (
            '"user_id"::bigint as "user_id", "item_id"::bigint as "item_id", "ts" as "ts"'
        )
        source = SourceSettings(table="log", rating="stars", event="kind")
        text = plan(connection, source, shops.START).interactions
        assert '"s"."stars" as "rating", "s"."kind"::text as "event"' in text


@pytest.mark.parametrize("users", [1, 3 * partitions.BATCH_ROWS + 1])
def test_a_load_is_one_copy_of_exactly_the_rows(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, users: int
) -> None:
    Job(database, tmp_path).migrated()
    statements: list[Any] = []
    execute = db.execute

    def counted(*args: Any) -> Any:
        statements.append(args[1])
        return execute(*args)

    sent: list[int] = []

    def weighed(batch: pa.RecordBatch, columns: Any) -> memoryview:
        rows = encode(batch, columns)
        sent.append(rows.nbytes)
        return rows

    monkeypatch.setattr(db, "execute", counted)
    monkeypatch.setattr("recjobs.copy_binary.encode", weighed)
    with db.connect(database) as connection:
        partitions.create(connection, "recs", 1, "digest")
        assert partitions.load(connection, "recs", 1, lists(tmp_path, users))
        partitions.complete(connection, "recs", 1, users)
    assert len(statements) == 12  # for any number of users; the COPY is one more
    assert len(sent) == -(-users // partitions.BATCH_ROWS)
    # Their number; two ids; no reason, no features; four arrays of two entries, "ials" in one.
    row = 2 + 2 * (4 + 8) + 2 * 4 + 4 * (4 + 20) + 2 * ((4 + 8) + (4 + 4) + (4 + 4)) + (4 + 8) + 4
    assert sum(sent) == users * row


def lists(folder: Path, users: int) -> Path:
    ends = pa.array(np.arange(0, 2 * users + 1, 2, dtype=np.int32))
    item = pa.array(np.arange(2 * users))
    table = {
        "user_id": pa.array(np.arange(users)),
        "item_ids": pa.ListArray.from_arrays(ends, item),
        "scores": pa.ListArray.from_arrays(ends, pa.array(np.ones(2 * users, np.float32))),
        "sources": pa.ListArray.from_arrays(ends, pa.array(["ials"] * (2 * users))),
        "because_item_ids": pa.ListArray.from_arrays(
            ends, pa.array(np.arange(2 * users), mask=np.arange(2 * users) % 2 == 1)
        ),
        "because_features": pa.nulls(users, pa.list_(pa.string())),
        "reason": pa.nulls(users, pa.string()),
    }
    pq.write_table(pa.table(table), folder / "lists.parquet")
    return folder / "lists.parquet"


@pytest.mark.parametrize("model", ["ease", "mf"])
def test_tensorflow_is_imported_where_it_trains(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    shop = shops.open_shop(database, tmp_path, monkeypatch, model=model)
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", NIGHT, str(shop.config)],
        env={**os.environ, "PYTHONPATH": str(Path(shops.__file__).parent)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    imported = dict(line.partition(" ")[::2] for line in said.splitlines())
    before = ("extract", "validate", "index")
    assert [imported[stage] for stage in before] == ["", "", ""]
    assert imported["train"] == ("" if model == "ease" else "keras tensorflow")
    if model == "ease":
        assert set(imported.values()) == {""}
