"""A Postgres for the comparisons, and a shape's interactions in a table of it.

``RECJOBS_DSN`` names a server; else the embedded one is started with the server's own defaults,
fsync among them: what is measured is what a user would have.
"""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg2
import pyarrow.parquet as pq

from benchmarks.performance.shapes import Shape, parquet
from recjobs.demo.server import embedded
from servers import Server

#: Postgres counts microseconds from 2000-01-01.
_EPOCH = 946_684_800_000_000
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_OF = {"i8": ">i8", "f4": ">f4"}


@contextmanager
def server() -> Iterator[Server]:
    """Give a server; one that was started here is gone at the block's end."""
    if dsn := os.environ.get("RECJOBS_DSN"):
        yield Server(dsn)
        return
    folder = Path(tempfile.mkdtemp(prefix="recjobs-bench-pg-"))
    started = embedded(folder / "data", cleanup_mode="delete")
    try:
        yield Server(started.get_uri())
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def load(dsn: str, shape: Shape, seed: int = 0) -> int:
    """Make ``app.ratings`` and fill it; return its bytes of heap.

    Rows are in the order of time within each of the generator's parts, which for one part is what
    an application leaves that only appends.
    """
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "create schema app;"
            "create table app.ratings (user_id bigint not null, item_id bigint not null,"
            " rating real not null, rated_at timestamptz not null)"
        )
        for path in parquet(shape, seed):
            table = pq.read_table(path)
            cursor.copy_expert(
                "copy app.ratings from stdin (format binary)",
                io.BytesIO(
                    binary_rows(
                        table["user_id"].to_numpy(),
                        table["item_id"].to_numpy(),
                        table["rating"].to_numpy(),
                        table["ts"].cast("int64").to_numpy() - _EPOCH,
                    )
                ),
            )
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("vacuum (freeze, analyze) app.ratings")
            cursor.execute("select pg_relation_size('app.ratings')")
            return int(cursor.fetchall()[0][0])


def binary_rows(*columns: npt.NDArray[np.generic]) -> bytes:
    """Return columns without nulls as a whole COPY BINARY stream."""
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for place, column in enumerate(columns):
        layout += [(f"length{place}", ">i4"), (f"value{place}", _OF[column.dtype.str[1:]])]
    rows = np.empty(len(columns[0]), dtype=layout)
    rows["fields"] = len(columns)
    for place, column in enumerate(columns):
        rows[f"length{place}"] = column.dtype.itemsize
        rows[f"value{place}"] = column
    return _HEADER + rows.tobytes() + b"\xff\xff"
