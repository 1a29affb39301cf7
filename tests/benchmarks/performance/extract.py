"""Reading the interactions into indexed arrays, beside the least that reading costs.

Ours is what the stages `extract` and `index` do to interactions, without the files between them:
the query that the settings give, ids encoded in their order, rows ordered by time, and the matrix.
The bare COPY sends the same columns of every row to nowhere.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import sparse

from benchmarks.performance import source
from benchmarks.performance.harness import Row, interleave, peak_bytes
from benchmarks.performance.shapes import AS_OF, Shape
from recjobs import db
from recjobs.artifacts import RunFolder, StageOutput
from recjobs.config import SourceSettings
from recjobs.extract import extract
from recjobs.pairs import by_user, pairs_of, taken
from recjobs.progress import silent
from recjobs.snapshot import read_snapshot
from recjobs.source.log import Log
from recjobs.source.parts import Parts
from recjobs.source.queries import plan
from recjobs.source.read import read_tables

SETTINGS = SourceSettings(dsn_env="UNUSED", table="app.ratings", time="rated_at", rating="rating")
UNTIL = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=AS_OF)
_COLUMNS = "user_id, item_id, rating, rated_at"

Arrays = tuple[npt.NDArray[np.generic], ...]


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time and weigh the reading."""
    with source.server() as server, server.database() as dsn:
        source.load(dsn, shape)
        return _compare(dsn, shape, repeats)


def _compare(dsn: str, shape: Shape, repeats: int) -> list[Row]:
    rows = f"{shape.interactions:,} rows"
    bare, ours, pandas = "COPY BINARY to nowhere", "read + encode + CSR", "pandas"
    stage = "extract and index, with Parquet between"
    with tempfile.TemporaryDirectory() as folder:
        timings = interleave(
            {
                bare: lambda: bare_copy(dsn),
                ours: lambda: arrays(dsn),
                stage: functools.partial(_stages, dsn, Path(folder)),
            },
            repeats,
        )
    found = [
        timings.row("extract", ours, bare, ("≤", 1.4), rows),
        timings.row("extract", stage, bare, None, "the stages, files and all"),
    ]
    turns = min(repeats, 3)
    slow = interleave(
        {pandas: lambda: by_pandas(dsn), ours: lambda: arrays(dsn)}, turns, warm=False
    )
    note = f"read_sql, factorize, csr_matrix; turns: {turns}"
    found.append(slow.row("extract", ours, pandas, ("≥", 10.0), note))
    with tempfile.TemporaryDirectory() as folder:
        found += _nights(dsn, Path(folder), repeats)
    peak, held = peak_bytes(_bytes_held, dsn, loads=_few)
    ratio = peak / held
    note = f"{peak >> 20:,} MiB for arrays of {held >> 20:,}, code not counted"
    found.append(
        Row("extract", "peak memory", "arrays returned", ratio, ratio, ratio, ("≤", 3.0), note)
    )
    return found


def _nights(dsn: str, root: Path, repeats: int) -> list[Row]:
    """Compare nights that reuse the days which the night before has kept with one that does not."""
    source = SETTINGS.model_copy(update={"full_every": 1000})
    with db.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("create index on app.ratings (rated_at)")

    def night(days: int = 0, *, keep: bool = True, fresh: bool = False) -> None:
        out = StageOutput(Path(tempfile.mkdtemp(dir=root)))
        parts = Parts(f"{root}/days") if keep else None
        extract(source, UNTIL - timedelta(days=days), out, dsn=dsn, parts=parts, fresh=fresh)
        if keep and not days and not fresh and not out.summary["parts"]["reused"]:
            raise RuntimeError(f"the night reused nothing: {out.summary['parts']}")

    night(1)
    shutil.copytree(root / "days", root / "yesterday")

    def yesterday() -> None:
        shutil.rmtree(root / "days")
        shutil.copytree(root / "yesterday", root / "days")

    whole = "a night that keeps no days"
    reused, checked = "a night that reuses days", "a night in full that keeps days"
    timings = interleave(
        {
            whole: functools.partial(night, keep=False),
            reused: night,
            checked: functools.partial(night, fresh=True),
        },
        repeats,
        before={reused: yesterday, checked: yesterday},
    )
    note = "the stage; one night in source.full_every reads everything"
    return [
        timings.row("extract", reused, whole, None, note),
        timings.row("extract", checked, whole, None, "everything is read, and held against them"),
    ]


def bare_copy(dsn: str) -> None:
    """Read the same columns and drop them."""
    with db.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"copy app.ratings ({_COLUMNS}) to stdout (format binary)", _Nowhere())


def arrays(dsn: str, until: datetime = UNTIL) -> Arrays:
    """Return user_idx, item_idx, ts, rating in the log's order, and the CSR matrix's arrays."""
    with db.connect(dsn) as connection:
        texts = plan(connection, SETTINGS, until).halves
    log = Log.of(read_tables(dsn, {"interactions": texts}, 1, silent).pop("interactions"))
    n_users = len(log.user.values)
    columns = log.user.codes, log.item.codes, log.ts, log.rating
    user, item, ts, rating = taken(log.order, *columns)
    del log, columns
    # As `read_snapshot` and `training_set` do: by user, then item, and of a pair the newest.
    user, item, ts, rating = by_user(user, item, ts, rating, n_users=n_users)
    indptr = np.searchsorted(user, np.arange(n_users + 1))
    pairs = pairs_of(indptr, item, np.ones(len(ts), dtype=np.bool_))
    return user, item, ts, rating, pairs.indptr, item[pairs.newest], rating[pairs.newest]


def by_pandas(dsn: str) -> Arrays:
    """Do what a script does."""
    import pandas as pd
    from sqlalchemy import create_engine

    engine = create_engine(dsn.replace("postgresql:", "postgresql+psycopg2:", 1))
    frame = pd.read_sql(f"select {_COLUMNS} from app.ratings", engine)
    engine.dispose()
    user, users = pd.factorize(frame["user_id"], sort=True)
    item, items = pd.factorize(frame["item_id"], sort=True)
    rating = frame["rating"].to_numpy(np.float32)
    matrix = sparse.csr_matrix((rating, (user, item)), (len(users), len(items)))
    return matrix.indptr, matrix.indices, matrix.data


def _few(dsn: str) -> None:
    arrays(dsn, UNTIL - timedelta(days=3 * 364 - 2))


def _bytes_held(dsn: str) -> int:
    return sum(array.nbytes for array in arrays(dsn))


def _stages(dsn: str, root: Path) -> None:
    folder = RunFolder(tempfile.mkdtemp(dir=root), 1, "here")
    with folder.writing("extract") as out:
        extract(SETTINGS, UNTIL, out, dsn=dsn)
    paths = [
        folder.path("extract", f"{name}.parquet") for name in ("interactions", "items", "users")
    ]
    read_snapshot(*paths, id_types=("bigint", "bigint"), as_of=AS_OF)


class _Nowhere:
    def write(self, row: bytes) -> int:
        return len(row)
