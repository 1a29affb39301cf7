"""Public data sets as encoded interactions, for benchmarks and the tests that skip without them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.dataset import Interactions
from recjobs.snapshot import read_snapshot

#: Parquet files with user_id, item_id, rating, ts (epoch seconds); none of them is part of the
#: project, for their terms forbid passing them on.
DATA = Path(
    os.environ.get("RECJOBS_BENCH_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
FAR = 4_000_000_000_000_000  # microseconds: after every interaction


def available(name: str) -> bool:
    """Tell whether a data set is on this machine."""
    return (DATA / name).is_dir()


def table(name: str) -> pa.Table:
    """Return a data set's interactions as they are stored."""
    return pq.read_table(rows_file(name))


def rows_file(name: str) -> Path:
    """Return the file of a data set's interactions."""
    file = DATA / name / "interactions.parquet"
    return file if file.exists() else DATA / name / "train.parquet"


def interactions(name: str) -> Interactions:
    """Return a data set as the index stage would leave it."""
    rows = table(name)
    seconds = pc.fill_null(rows["ts"].cast(pa.int64()), 0)
    ts = pc.multiply(seconds, 1_000_000).cast(pa.timestamp("us", "UTC"))
    log = pa.table(
        {
            "user_id": rows["user_id"].cast(pa.int64()),
            "item_id": rows["item_id"].cast(pa.int64()),
            "ts": ts,
            "rating": rows["rating"].cast(pa.float32()),
            "event": pa.nulls(len(rows), pa.string()),
        }
    ).sort_by([("ts", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])
    time = pa.timestamp("us", "UTC")
    items = pa.schema(
        [("item_id", pa.int64()), ("title", pa.string()), ("created_at", time),
         ("available", pa.bool_())]
    )  # fmt: skip
    users = pa.schema([("user_id", pa.int64()), ("created_at", time), ("active", pa.bool_())])
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        pq.write_table(log, folder / "interactions.parquet")
        pq.write_table(items.empty_table(), folder / "items.parquet")
        pq.write_table(users.empty_table(), folder / "users.parquet")
        return read_snapshot(
            folder / "interactions.parquet",
            folder / "items.parquet",
            folder / "users.parquet",
            id_types=("bigint", "bigint"),
            as_of=FAR,
        )
