"""The splits of `make bench-quality`: carved from the training files, written once, as T, E, N, I.

The public test parts of these data sets are not here and are never used: each split holds out
again, in the way of the published protocol, from what may be trained on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from recjobs.files import file_sha256, read_json, write_json
from recjobs.split import newest_rows

Rows = npt.NDArray[np.bool_]
_SEED = 20_261
#: Raised with every change to what a `Split.carve` holds out: splits are then carved again.
_CARVING = 2
_DONE = "split.json"  # written last
_DAY = 86_400


@dataclass(frozen=True)
class Split:
    """One way to hold out from one data set.

    Attributes:
        title: What the page calls it.
        folder: Of the data set.
        carve: Takes the rows of the data set and writes the files of the split into a folder.
        protocol: Of `recjobs bench quality`.
        metrics: What the page shows.
        models: Families to run, by name; those that the registry lacks are skipped.
        words: More arguments of the command.
        baselines: Whether the page also wants a random order and popular genres.
        against: Families that the others are compared with, user by user.
    """

    title: str
    folder: str
    carve: Callable[[pa.Table, Path], None]
    protocol: str
    metrics: tuple[str, ...]
    models: tuple[str, ...]
    words: tuple[str, ...] = ()
    baselines: bool = False
    against: tuple[str, ...] = field(default=())


def files(name: str, cache: Path) -> Path:
    """Return the folder of a split's files, carved where they are missing or of other data."""
    folder, split = cache / "splits" / name, SPLITS[name]
    items = data.DATA / split.folder / "items.parquet"
    sources = [data.rows_file(split.folder), *([items] if "--items" in split.words else [])]
    made_of = {"carving": _CARVING, "sources": [file_sha256(path) for path in sources]}
    if {key: _done(folder).get(key) for key in made_of} != made_of:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        split.carve(data.table(split.folder), folder)
        if items in sources:
            pq.write_table(pq.read_table(items), folder / "items.parquet")
        write_json(folder / _DONE, made_of | {"digest": _digest(folder)})
    return folder


def digest(folder: Path) -> str | None:
    """Return what tells this version of the split's files from another; None without files."""
    return _done(folder).get("digest")


def _done(folder: Path) -> dict[str, Any]:
    """Return what the split was made of, and its digest; nothing where it is not there."""
    done: dict[str, Any] = read_json(folder / _DONE) if (folder / _DONE).exists() else {}
    return done


def last_of_each(rows: pa.Table, folder: Path) -> None:
    """Hold out each user's last row by (ts, row), and draw 99 items that the user never chose."""
    user, item, ts = (rows[name].to_numpy() for name in ("user_id", "item_id", "ts"))
    order = np.lexsort((np.arange(len(rows)), ts, user))
    last = order[np.append(user[order][1:] != user[order][:-1], True)]
    held = np.zeros(len(rows), dtype=np.bool_)
    held[last] = True
    _write(rows, held, folder)
    rng = np.random.default_rng(_SEED)
    catalogue = np.unique(item)
    chosen: dict[int, set[int]] = {}
    for one, other in zip(user.tolist(), item.tolist(), strict=True):
        chosen.setdefault(one, set()).add(other)
    negatives = []
    for one in user[last].tolist():
        drawn = rng.permutation(catalogue).tolist()
        negatives.append([each for each in drawn if each not in chosen[one]][:99])
    table = pa.table({"user_id": user[last], "negatives": negatives})
    pq.write_table(table, folder / "negatives.parquet")


def some_of_each(rows: pa.Table, folder: Path) -> None:
    """Hold out a random fifth of each user's rows, at least one where two are left."""
    user = rows["user_id"].to_numpy()
    order = np.lexsort((np.random.default_rng(_SEED).random(len(rows)), user))
    _, first, count = np.unique(user[order], return_index=True, return_counts=True)
    place = np.arange(len(rows)) - np.repeat(first, count)
    size = np.repeat(count, count)
    held = np.zeros(len(rows), dtype=np.bool_)
    held[order] = (place < np.maximum(np.round(size * 0.2), 1)) & (size > 2)
    _write(rows, held, folder)


def random_rows(share: float) -> Callable[[pa.Table, Path], None]:
    """Hold out a random share of all rows."""

    def carve(rows: pa.Table, folder: Path) -> None:
        held = np.zeros(len(rows), dtype=np.bool_)
        order = np.random.default_rng(_SEED).permutation(len(rows))
        held[order[: round(len(rows) * share)]] = True
        _write(rows, held, folder)

    return carve


def article(rows: pa.Table, folder: Path) -> None:
    """Hold out the fifth that scikit-learn draws from the rows in the order of the file."""
    from sklearn.model_selection import train_test_split

    _, test = train_test_split(np.arange(len(rows)), test_size=0.2, random_state=42)
    held = np.zeros(len(rows), dtype=np.bool_)
    held[test] = True
    _write(rows, held, folder)


def last_days(days: int) -> Callable[[pa.Table, Path], None]:
    """Hold out everything in the last days."""

    def carve(rows: pa.Table, folder: Path) -> None:
        ts = rows["ts"].to_numpy()
        _write(rows, ts >= ts.max() - days * _DAY, folder)

    return carve


def newest(share: float) -> Callable[[pa.Table, Path], None]:
    """Hold out a share of the rows, the newest."""

    def carve(rows: pa.Table, folder: Path) -> None:
        everything = np.ones(len(rows), dtype=np.bool_)
        _write(rows, newest_rows(rows["ts"].to_numpy(), everything, share), folder)

    return carve


def new_items(rows: pa.Table, folder: Path) -> None:
    """Hold out every row of a random fifth of the items."""
    item = rows["item_id"].to_numpy()
    catalogue = np.unique(item)
    rng = np.random.default_rng(_SEED)
    _write(rows, np.isin(item, rng.permutation(catalogue)[: len(catalogue) // 5]), folder)


def new_users(known: int) -> Callable[[pa.Table, Path], None]:
    """Of a random fifth of the users, leave only the first rows by (ts, row)."""

    def carve(rows: pa.Table, folder: Path) -> None:
        user, ts = rows["user_id"].to_numpy(), rows["ts"].to_numpy()
        everyone = np.unique(user)
        chosen = np.random.default_rng(_SEED).permutation(everyone)[: len(everyone) // 5]
        order = np.lexsort((np.arange(len(rows)), ts, user))
        _, first, count = np.unique(user[order], return_index=True, return_counts=True)
        place = np.empty(len(rows), dtype=np.int64)
        place[order] = np.arange(len(rows)) - np.repeat(first, count)
        _write(rows, np.isin(user, chosen) & (place >= known), folder)

    return carve


def _write(rows: pa.Table, held: Rows, folder: Path) -> None:
    pq.write_table(rows.filter(pa.array(~held)), folder / "train.parquet")
    pq.write_table(rows.filter(pa.array(held)), folder / "test.parquet")


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()[:16]


_CLOSED = ("popular", "user_knn", "item_knn", "ease", "elsa", "graph_filter", "ials")
_LEARNED = ("mf", "ncf")
_TIMED = (*_CLOSED, *_LEARNED, "gru4rec", "sasrec", "blend")
_COLD = ("content", "two_tower")

SPLITS: dict[str, Split] = {
    "ml-1m-99": Split(
        "ML-1M, leave one out, 99 sampled negatives", "ml-1m-train", last_of_each, "sampled",
        ("hit_rate@10", "ndcg@10"), (*_CLOSED, *_LEARNED, "blend"), ("--k", "10"),
    ),
    "gowalla": Split(
        "Gowalla, a random fifth of each user's rows, full ranking", "gowalla-train", some_of_each,
        "full", ("recall@20", "ndcg@20"), (*_CLOSED, *_LEARNED, "blend"), ("--k", "20"),
    ),
    "ml-1m-last": Split(
        "ML-1M, leave the last out, full ranking", "ml-1m-train", last_of_each, "full",
        ("recall@10", "ndcg@10"), _TIMED, ("--k", "10"),
    ),
    "ml-1m-ratings": Split(
        "ML-1M ratings, random 90/10", "ml-1m-train", random_rows(0.1), "rating", ("rmse", "mae"),
        ("mf", "ncf", "two_tower"),
    ),
    "latest-small-ratings": Split(
        "MovieLens latest-small ratings, the article's 80/20", "ml-latest-small", article, "rating",
        ("rmse", "mae"), ("mf", "ncf", "two_tower"),
    ),
    "movietweetings-time": Split(
        "MovieTweetings, the last 7 days, full ranking", "movietweetings-100k", last_days(7),
        "full", ("ndcg@10", "recall@20"), (*_TIMED, *_COLD), ("--items",),
        against=("popular", "ease"),
    ),
    "ml-1m-time": Split(
        "ML-1M, the newest tenth, full ranking", "ml-1m-train", newest(0.1), "full",
        ("ndcg@10", "recall@20"), (*_TIMED, *_COLD), ("--items",),
        against=("popular", "ease", "mf"),
    ),
    "latest-small-time": Split(
        "MovieLens latest-small, the last 180 days, full ranking", "ml-latest-small",
        last_days(180), "full", ("ndcg@10", "recall@20"), (*_TIMED, *_COLD), ("--items",),
        against=("popular", "ease"),
    ),
    "ml-1m-new-items": Split(
        "ML-1M, a fifth of the items unseen, ranked among themselves", "ml-1m-train", new_items,
        "full", ("ndcg@10", "recall@20"), _COLD, ("--items", "--candidates", "unseen"),
        baselines=True, against=("random order", "popular genres"),
    ),
    "movietweetings-new-items": Split(
        "MovieTweetings, a fifth of the items unseen, ranked among themselves",
        "movietweetings-100k", new_items, "full", ("ndcg@10", "recall@20"), _COLD,
        ("--items", "--candidates", "unseen"), baselines=True,
        against=("random order", "popular genres"),
    ),
    **{
        f"ml-1m-new-users-{n}": Split(
            f"ML-1M, a fifth of the users with {n} interaction{'' if n == 1 else 's'}",
            "ml-1m-train", new_users(n), "full", ("ndcg@10", "recall@20"),
            ("popular",) if n == 0 else (*_TIMED, *_COLD), ("--items",),
        )
        for n in (0, 1, 3)
    },
}  # fmt: skip


def cache() -> Path:
    """Return the ignored folder where splits and cells are kept."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("RECJOBS_BENCH_CACHE", root / ".cache" / "bench-quality"))
