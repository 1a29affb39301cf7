"""Lists into Postgres, beside the bytes alone; and reads while they are published.

Half of the entries name a reason, as a job's do; a list has 50 entries, and each user one list.
"""

from __future__ import annotations

import contextlib
import functools
import io
import multiprocessing
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from benchmarks.performance import source
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import Shape
from published import Job
from recjobs import db, partitions
from recjobs.copy_binary import encode

N = 50
READS_PER_SECOND = 400
_BLOCK = 1 << 14
_RUN = 1_000_000  # of no run: the load alone needs none
_COLUMNS = {
    "user_id": "bigint",
    "run_id": "bigint",
    "item_ids": "bigint[]",
    "scores": "real[]",
    "sources": "text[]",
    "because_item_ids": "bigint[]",
    "because_features": "text[]",
    "reason": "text",
}
_READ = "select item_id, score from recs.recommendations where user_id = %s order by rank limit 20"


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time the load and the reads."""
    with source.server() as server, server.database() as dsn, tempfile.TemporaryDirectory() as name:
        # Fewer are loaded in the time of a connection, and say nothing.
        lists = lists_file(Path(name) / "lists.parquet", max(shape.users, 50_000), shape.items)
        return _load(dsn, lists, repeats) + _reads(dsn, lists, Path(name), repeats)


def lists_file(path: Path, users: int, items: int) -> Path:
    """Write lists as the stage `score` leaves them, a block of users at a time."""
    rng = np.random.default_rng(0)
    with contextlib.ExitStack() as stack:
        writer = None
        for start in range(0, users, _BLOCK):
            batch = _lists(np.arange(start, min(start + _BLOCK, users)), items, rng)
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(path, batch.schema, compression="lz4")
                )
            writer.write_batch(batch)
    return path


def _lists(users: np.ndarray, items: int, rng: np.random.Generator) -> pa.RecordBatch:
    n = len(users)
    ends = pa.array(np.arange(0, n * N + 1, N, dtype=np.int32))
    item, reason = (rng.integers(items, size=n * N) + 500_009 for _ in range(2))
    score = np.sort(rng.random((n, N), dtype=np.float32), axis=1)[:, ::-1]
    sources = pa.DictionaryArray.from_arrays(np.zeros(n * N, dtype=np.int32), ["ials"])
    columns = {
        "user_id": pa.array(users.astype(np.int64) + 1),
        "item_ids": pa.ListArray.from_arrays(ends, item),
        "scores": pa.ListArray.from_arrays(ends, score.ravel()),
        "sources": pa.ListArray.from_arrays(ends, sources),
        "because_item_ids": pa.ListArray.from_arrays(
            ends, pa.array(reason, mask=rng.random(n * N) < 0.5)
        ),
        "because_features": pa.nulls(n, pa.list_(pa.string())),
        "reason": pa.nulls(n, pa.string()),
    }
    return pa.record_batch(columns)


def _load(dsn: str, lists: Path, repeats: int) -> list[Row]:
    Job(dsn, lists.parent).migrated()
    file = lists.parent / "same-bytes"
    file.write_bytes(_stream(lists))

    def create() -> None:
        _execute(dsn, "drop table if exists same; create table same (like recs.top_n_list)")

    def bytes_alone() -> None:
        with (
            db.connect(dsn) as connection,
            connection.cursor() as cursor,
            file.open("rb") as bytes_,
        ):
            cursor.copy_expert("copy same from stdin (format binary)", bytes_, size=1 << 20)

    ours, bare = "build, load, key, check, analyze", "COPY BINARY of the same bytes"
    timings = interleave(
        {ours: functools.partial(load, dsn, lists), bare: bytes_alone},
        repeats,
        before={bare: create, ours: functools.partial(forget, dsn)},
    )
    create()
    forget(dsn)
    rows = pq.read_metadata(lists).num_rows
    note = f"{rows:,} lists of {N}, {file.stat().st_size >> 20:,} MiB"
    return [timings.row("publish", ours, bare, ("≤", 1.3), note)]


def load(dsn: str, lists: Path) -> None:
    """Load the lists as the stage `publish` does before any reader sees them."""
    with db.connect(dsn) as connection:
        partitions.create(connection, "recs", _RUN, "digest")
    with db.connect(dsn) as connection:
        partitions.load(connection, "recs", _RUN, lists)
    with db.connect(dsn) as connection:
        partitions.complete(connection, "recs", _RUN, pq.read_metadata(lists).num_rows)


def forget(dsn: str) -> None:
    """Drop what `load` left."""
    _execute(dsn, f"drop table if exists recs.top_n_load_{_RUN}")


def _stream(lists: Path) -> bytes:
    out = io.BytesIO()
    out.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for batch in pq.ParquetFile(lists).iter_batches(batch_size=partitions.BATCH_ROWS):
        run = pa.array([_RUN] * len(batch), pa.int64())
        out.write(encode(batch.append_column("run_id", run), _COLUMNS))
    out.write(b"\xff\xff")
    return out.getvalue()


# --- reads ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Large(Job):
    """A job whose nights have the large lists."""

    lists: Path = Path()

    def _scores(self, folder: Path, *args: Any) -> None:
        super()._scores(folder, *args)
        (folder / "lists.parquet").unlink()
        (folder / "lists.parquet").symlink_to(self.lists)


def _reads(dsn: str, lists: Path, folder: Path, repeats: int) -> list[Row]:
    """Read at a steady rate; publish in every other span of time."""
    job = _Large(dsn, folder / "artifacts", lists=lists)
    users = pq.read_metadata(lists).num_rows
    job.night(0)
    spawn = multiprocessing.get_context("spawn")
    ready, stop, out = spawn.Event(), spawn.Event(), spawn.SimpleQueue()
    reader = spawn.Process(target=_reader, args=(dsn, users, ready, stop, out))
    reader.start()
    taken: list[Any] = []
    collector = threading.Thread(target=lambda: taken.append(out.get()))
    collector.start()
    quiet, busy = [], []
    try:
        ready.wait(60)
        time.sleep(2)  # plans, caches
        for turn in range(1, 2 * repeats + 1):
            run = job.open(turn)
            job.artifacts(run)
            started = time.perf_counter()
            job.publish(run)
            ended = time.perf_counter()
            busy.append((started, ended))
            time.sleep(0.5)
            started = time.perf_counter()
            time.sleep(ended - busy[-1][0])
            quiet.append((started, time.perf_counter()))
    finally:
        stop.set()
        collector.join()
        reader.join()
    starts, seconds = taken[0]
    with_, without = (_within(spans, starts, seconds) for spans in (busy, quiet))
    most, least = (float(np.quantile(each, 0.999)) for each in (with_, without))
    turns = [
        np.quantile(_within([b], starts, seconds), 0.999)
        / np.quantile(_within([q], starts, seconds), 0.999)
        for b, q in zip(busy, quiet, strict=True)
    ]
    note = (
        f"the ratio is that of p99.9 over the reads of all turns, {most * 1e3:.1f} ms against "
        f"{least * 1e3:.1f} ms: a turn has too few; medians "
        f"{np.median(with_) * 1e3:.2f} and {np.median(without) * 1e3:.2f} ms, longest "
        f"{with_.max() * 1e3:.0f} and {without.max() * 1e3:.0f} ms; {len(with_):,} and "
        f"{len(without):,} reads at {READS_PER_SECOND}/s"
    )
    return [
        Row("publish", "reads during a publish", "reads without", most / least,
            float(min(turns)), float(max(turns)), ("≤", 3.0), note)
    ]  # fmt: skip


def _within(spans: list[tuple[float, float]], starts: Any, seconds: Any) -> np.ndarray:
    inside = [(starts + seconds >= a) & (starts < b) for a, b in spans]
    return seconds[np.logical_or.reduce(inside)]


def _reader(dsn: str, users: int, ready: Event, stop: Event, out: Any) -> None:
    rng = np.random.default_rng(1)
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    starts, seconds = [], []
    ready.set()
    due = time.perf_counter()
    while not stop.is_set():
        time.sleep(max(0.0, due - time.perf_counter()))
        user = int(rng.integers(users)) + 1
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(_READ, (user,))
            if len(cursor.fetchall()) == 0:
                raise RuntimeError(f"user {user} got no list")
        starts.append(started)
        seconds.append(time.perf_counter() - started)
        due = max(due + 1 / READS_PER_SECOND, started)
    connection.close()
    out.put((np.array(starts), np.array(seconds)))


def _execute(dsn: str, statements: str) -> None:
    with db.connect(dsn) as connection:
        db.execute(connection, sql.SQL(statements))
