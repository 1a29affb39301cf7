"""A job whose items are people: friend links of Last.fm, some withheld, and who finds them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from benchmarks import data
from recjobs.bench.quality import Request, quality
from recjobs.progress import Progress, silent

FOLDER: Final = "lastfm-hetrec2k"
MODELS: Final = ("popular", "user_knn", "item_knn", "ease", "ials", "content")
SEEDS: Final = (1, 2, 3)
METRICS: Final = ("recall@10", "ndcg@10", "recall@20")


def links() -> np.ndarray:
    """Return each link once, the lesser id first, int64 ``(n_links, 2)``."""
    rows = pq.read_table(data.DATA / FOLDER / "friends.parquet")
    return np.unique(np.sort(np.stack([c.to_numpy() for c in rows.columns], axis=1)), axis=0)


def withheld(pairs: np.ndarray, seed: int) -> np.ndarray:
    """Return which links to withhold, bool ``(n_links,)``: of each person one, drawn evenly.

    Both ends keep a link at least; of a person who has none to spare, none is drawn.
    """
    rng = np.random.default_rng(seed)
    left = np.bincount(pairs.ravel())
    held = np.zeros(len(pairs), dtype=np.bool_)
    for person in rng.permutation(np.unique(pairs)):
        own = np.flatnonzero((pairs == person).any(axis=1) & ~held)
        spare = own[(left[pairs[own]] > 1).all(axis=1)]
        if len(spare):
            link = rng.choice(spare)
            held[link] = True
            left[pairs[link]] -= 1
    return held


def compare() -> Table:
    """Return the means over the seeds: who finds the withheld links, and who suggests oneself."""
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(seed) for seed in SEEDS]
        counts = [_carve(folder, seed) for folder, seed in zip(folders, SEEDS, strict=True)]
        table = Table(
            title=f"friends: Last.fm, {np.mean(counts):.0f} links withheld, one of each person"
        )
        heads = [*METRICS, "oneself on the list, were it not for the rows of event self"]
        table.add_column("model")
        for head in heads:
            table.add_column(head, justify="right")
        for name in MODELS:
            runs = [_measured(name, *each) for each in zip(folders, SEEDS, strict=True)]
            means, spread = np.mean(runs, axis=0), np.std(runs, axis=0)
            shown = (f"{mean:.4f} ± {by:.4f}" for mean, by in zip(means, spread, strict=True))
            table.add_row(name, *shown)
    return table


def _carve(folder: Path, seed: int) -> int:
    """Write the files of a split, and return how many links are withheld.

    T (``train``) is both directions of every link that is left and a row of event self for
    everybody, E (``test``) both directions of those withheld; ``links`` is T without the rows of
    event self, and ``selves`` an E of these alone: who is found there would be suggested to
    themself.
    """
    folder.mkdir()
    pairs = links()
    held = withheld(pairs, seed)
    selves = np.repeat(np.unique(pairs)[:, None], 2, axis=1)
    left, test = (np.concatenate([some, some[:, ::-1]]) for some in (pairs[~held], pairs[held]))
    everything = np.concatenate([left, selves])
    event = ["friend"] * len(left) + ["self"] * len(selves)
    for name, rows, columns in (
        ("train", everything, {"event": event}),
        ("links", left, {"event": event[: len(left)]}),
        ("test", test, {}),
        ("selves", selves, {}),
    ):
        table = pa.table({"user_id": rows[:, 0], "item_id": rows[:, 1], **columns})
        pq.write_table(table, folder / f"{name}.parquet")
    pq.write_table(_artists(), folder / "items.parquet")
    return int(held.sum())


def _measured(name: str, folder: Path, seed: int) -> list[float]:
    """Return a model's metrics, and the share of people whom it would suggest to themself."""
    found = _figures(name, folder, seed, "train", "test")
    own = _figures(name, folder, seed, "links", "selves")
    return [*(found[metric] for metric in METRICS), own["hit_rate@10"]]


def _figures(name: str, folder: Path, seed: int, train: str, test: str) -> dict[str, float]:
    request = Request(
        train=folder / f"{train}.parquet",
        test=folder / f"{test}.parquet",
        items=folder / "items.parquet" if name == "content" else None,
        model=name,
        protocol="full",
        settings={"event_weights": {"friend": 1.0}},
        seed=seed,
    )
    metrics: dict[str, float] = quality(request, _quietly)["metrics"]
    return metrics


def _artists() -> pa.Table:
    """Return everybody, with the artists that they listen to as categories."""
    rows = data.table(FOLDER).select(["user_id", "item_id"]).sort_by("user_id")
    found = rows.group_by("user_id", use_threads=False).aggregate([("item_id", "list")])
    artists = found["item_id_list"].cast(pa.list_(pa.string()))
    return pa.table({"item_id": found["user_id"], "artists": artists})


@contextmanager
def _quietly(_: str) -> Iterator[Progress]:
    yield silent
