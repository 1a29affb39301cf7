"""All users' lists, in blocks: the model's exact top-n, completed by the popular fallback.

`top_n` is what the evaluation uses too; `Scorer` writes its blocks into Parquet, one row group
each, so that memory is set by the block and not by the number of users.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs.artifacts import StageOutput
from recjobs.columns import ITEM_ID, SEGMENT, USER_ID
from recjobs.config import Settings
from recjobs.dataset import (
    BoolArray,
    Int32Array,
    Interactions,
    SeenItems,
    TrainingSet,
    seen_of,
    training_set,
)
from recjobs.fallback import Fallback
from recjobs.index import Index
from recjobs.list_rows import ListRows, as_lists
from recjobs.models.base import FactorModel, Model
from recjobs.models.item_knn import ItemKnn, ItemKnnSettings
from recjobs.models.ranking import Ranker
from recjobs.models.relations import ItemRelation, ItemVectors
from recjobs.progress import Progress, silent
from recjobs.rerank import Reranker
from recjobs.shards import Shard
from recjobs.threads import ahead
from recjobs.topn import TopN, empty_lists

#: Popular items published beyond n and the margin, for users that a run has never seen.
_POPULAR_SPARES: Final = 100
#: Items whose neighbours are sought at a time, and the scores that these may hold.
_BLOCK_ITEMS: Final = 4096
_SIMILAR_SCORES: Final = 1 << 26


def top_n(
    model: Model | None,
    train: TrainingSet,
    users: Int32Array,
    seen: SeenItems,
    candidates: BoolArray,
    n: int,
    *,
    block_users: int,
    rerank: Reranker | None = None,
    fallback: Fallback | None = None,
) -> Iterator[TopN]:
    """Yield the lists of the users, block by block, in the order given.

    A user whom the model does not know gets the popular list; a list that the model leaves short is
    completed by it.

    Args:
        model: A fitted model; None gives everyone the popular list.
        train: Where the popularity of the fallback is counted.
        users: int32, ``(n_users,)``; whose lists to make, each at most once.
        seen: Items that a user's list must not contain.
        candidates: bool, ``(n_items,)``; the only items that a list may contain.
        n: Length of a list.
        block_users: Users in a block; it changes memory and time, never a list.
        rerank: Makes the model's lists anew from its best.
        fallback: Of the training set and the candidates, where there is one already.
    """
    fallback = fallback or Fallback(train, candidates)
    ranker = None if model is None else Ranker(model, candidates)
    depth = max(n, rerank.settings.pool) if rerank else n
    for start in range(0, len(users), block_users):
        block = users[start : start + block_users].astype(np.int32, copy=False)
        item_idx, score = empty_lists(len(block), n)
        if model is not None and ranker is not None:
            known = np.flatnonzero(model.known_users[block])
            best, best_score = ranker.top_n(block[known], seen, depth)
            if rerank:
                best, best_score = rerank.lists(block[known], best, best_score, n)
            item_idx[known], score[known] = best, best_score
        n_model = (item_idx >= 0).sum(axis=1, dtype=np.int32)
        fallback.complete(block, seen, item_idx, score, n_model)
        yield TopN(block, item_idx, score, n_model)


class Scorer:
    """Writes a night's lists, a shard of the users at a time, and what goes with them all.

    Args:
        model: The scoring model; None gives everyone the popular list.
        log: The whole log before ``as_of``.
        as_of: Microseconds.
        settings: Of the job; ``[feedback]``, ``[score]``, ``[rerank]`` and the seed are read.
    """

    def __init__(
        self, model: Model | None, log: Interactions, as_of: int, settings: Settings
    ) -> None:
        self._model = model
        self._log = log
        self._settings = settings
        everything = np.ones(len(log), dtype=np.bool_)
        self._train = training_set(log, everything, as_of, settings.feedback)

    def lists(self, shard: Shard, out: StageOutput, progress: Progress) -> None:
        """Write the lists of a shard of the eligible users, and a summary that counts them.

        Leaves ``lists.parquet`` (one row per user, ascending) and, where the job asks for it,
        ``similar_users.parquet`` (one row per user with a vector).
        """
        train, of_score = self._train, self._settings.score
        eligible = np.flatnonzero(self._log.eligible).astype(np.int32)
        users = eligible[shard.share(len(eligible))]
        rows = ListRows(self._model, train, of_score.n)
        lists = top_n(
            self._model,
            train,
            users,
            self._seen,
            train.candidates,
            of_score.n + of_score.margin,
            block_users=of_score.block_users,
            rerank=self._rerank,
            fallback=self._fallback,
        )
        done = 0
        with _writer(out.folder / "lists.parquet", rows.schema) as to:
            for batch in ahead(rows.batch(block) for block in lists):
                to.write_batch(batch)
                done += len(batch)
                progress(done / len(users), f"{done:,} of {len(users):,} users")
        if of_score.similar_users and isinstance(self._model, FactorModel):
            known = self._model.known_users
            _write_neighbours(
                ItemVectors.of(self._model.tastes(), known), train.users, USER_ID,
                users[known[users]], self._log.eligible & known, of_score.similar_users,
                out.folder / "similar_users.parquet",
            )  # fmt: skip
        out.summary.update(rows.summary())

    def rest(self, out: StageOutput) -> None:
        """Write what no shard has a share in.

        Leaves ``similar.parquet`` (one row per candidate) and ``popular.parquet`` (one row per
        segment).
        """
        train, of_score = self._train, self._settings.score
        spares = of_score.margin + _POPULAR_SPARES
        _write_popular(self._fallback, train, of_score.n + spares, out)
        relation = None if self._model is None else self._model.relation()
        if relation is None:
            relation = _by_co_occurrence(train, self._settings)
        _write_neighbours(
            relation, train.items, ITEM_ID, np.flatnonzero(train.candidates).astype(np.int32),
            train.candidates, of_score.similar, out.folder / "similar.parquet",
        )  # fmt: skip

    @cached_property
    def _seen(self) -> SeenItems:
        return seen_of(self._train)

    @cached_property
    def _fallback(self) -> Fallback:
        return Fallback(self._train, self._train.candidates)

    @cached_property
    def _rerank(self) -> Reranker | None:
        model = self._model
        return Reranker.of(self._train, model, self._settings.rerank) if model else None


def _write_popular(fallback: Fallback, train: TrainingSet, n: int, out: StageOutput) -> None:
    """Write the popular list of each segment, and everybody's."""
    length = np.full(len(fallback.segments), min(n, len(fallback.order)))
    ids = train.items.decode(fallback.orders[:, :n].ravel())
    scores = pa.array(fallback.scores[:, :n].ravel(), pa.float32())
    table = pa.table(
        {
            SEGMENT: pa.array(fallback.segments, pa.string()),
            "item_ids": as_lists(ids, length),
            "scores": as_lists(scores, length),
        }
    )
    pq.write_table(table, out.folder / "popular.parquet", compression="zstd")


def _write_neighbours(
    relation: ItemRelation,
    index: Index,
    key: str,
    rows: Int32Array,
    chosen: BoolArray,
    n: int,
    path: Path,
) -> None:
    """Write the nearest of the chosen items, or users, for each of some, in row groups."""
    ids = index.ids.type
    what = key.removesuffix("_id")
    schema = pa.schema(
        [(key, ids), (f"similar_{what}_ids", pa.list_(ids)), ("scores", pa.list_(pa.float32()))]
    )
    step = max(1, min(_BLOCK_ITEMS, _SIMILAR_SCORES // max(len(chosen), 1)))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            found, score = relation.similar(block, chosen, max(n, 1))
            found, score = found[:, :n], score[:, :n]
            given = found >= 0
            columns = [
                index.decode(block),
                as_lists(index.decode(found[given]), given.sum(axis=1)),
                as_lists(pa.array(score[given], pa.float32()), given.sum(axis=1)),
            ]
            yield pa.record_batch(columns, schema=schema)

    with _writer(path, schema) as file:
        for batch in ahead(batches()):
            file.write_batch(batch)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file for lists: scores seldom repeat, and to look for repetitions takes longest."""
    repeated = [f"{name}.list.element" for name in schema.names if name != "scores"]
    return pq.ParquetWriter(path, schema, compression="lz4", use_dictionary=repeated)


def _by_co_occurrence(train: TrainingSet, settings: Settings) -> ItemRelation:
    """Return how items relate where the model has no say: by who liked both."""
    job = settings.job
    model = ItemKnn(ItemKnnSettings(), seed=job.seed, threads=job.training_threads)
    model.fit(train, progress=silent)
    return model.relation()
