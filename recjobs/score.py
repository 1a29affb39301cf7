"""All users' lists, in blocks: the model's exact top-n, completed by the popular fallback.

`top_n` is what the evaluation uses too; `score` writes its blocks into Parquet, one row group each,
so that memory is set by the block and not by the number of users.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recjobs.artifacts import StageOutput
from recjobs.columns import EVERYBODY, ITEM_ID, POPULAR, REASON, SEGMENT, USER_ID
from recjobs.config import Settings
from recjobs.dataset import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    Interactions,
    SeenItems,
    TrainingSet,
    seen_items,
    training_set,
)
from recjobs.index import Index
from recjobs.models.base import FactorModel, Model
from recjobs.models.item_knn import ItemKnn, ItemKnnSettings
from recjobs.models.popular import PopularSettings, by_segment
from recjobs.models.ranking import Ranker
from recjobs.models.relations import ItemRelation, ItemVectors
from recjobs.progress import Progress, silent
from recjobs.rerank import Reranker
from recjobs.topn import TopN, empty_lists

__all__ = ["Fallback", "TopN", "score", "top_n"]

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
    """
    fallback = Fallback(train, candidates)
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


class Fallback:
    """Each segment's popular list, best first, ties by item index; every candidate is on it.

    Args:
        train: Where the popularity is counted.
        candidates: bool, ``(n_items,)``.

    Attributes:
        segments: Whose lists: the segments of the users, and last everybody.
        orders: int32, ``(n_segments + 1, n_candidates)``.
        scores: The popularity of each, float32, ``(n_segments + 1, n_candidates)``.
    """

    def __init__(self, train: TrainingSet, candidates: BoolArray) -> None:
        score = by_segment(train, PopularSettings().half_life_days)[:, candidates]
        place = np.argsort(-score, axis=1, kind="stable")
        self._segment_of = train.log.segments.of
        self.segments = (*train.log.segments.names, EVERYBODY)
        self.orders = np.flatnonzero(candidates).astype(np.int32)[place]
        self.scores = np.take_along_axis(score, place, axis=1)

    @property
    def order(self) -> Int32Array:
        """Everybody's list, int32 ``(n_candidates,)``."""
        everybody: Int32Array = self.orders[-1]
        return everybody

    def complete(
        self,
        users: Int32Array,
        seen: SeenItems,
        item_idx: Int32Array,
        score: Float32Array,
        filled: Int32Array,
    ) -> None:
        """Complete short lists in place, each from the list of its user's segment."""
        from recjobs import kernels

        segment = self._segment_of(users)
        for code in np.unique(segment):
            rows = np.flatnonzero(segment == code)
            items, scores = item_idx[rows], score[rows]
            kernels.fill_from(
                self.orders[code], self.scores[code], users[rows],
                seen.indptr, seen.indices, items, scores, filled[rows],
            )  # fmt: skip
            item_idx[rows], score[rows] = items, scores


def score(
    model: Model | None,
    log: Interactions,
    as_of: int,
    settings: Settings,
    out: StageOutput,
    progress: Progress,
) -> None:
    """Write the lists of all eligible users, similar items and popular items.

    Leaves ``lists.parquet`` (one row per eligible user, ascending), ``similar.parquet`` (one row
    per candidate), ``popular.parquet`` (one row per segment), where the job asks for it
    ``similar_users.parquet`` (one row per user with a vector), and a summary.

    Args:
        model: The scoring model; None gives everyone the popular list.
        log: The whole log before ``as_of``.
        as_of: Microseconds.
        settings: Of the job; ``[feedback]``, ``[score]`` and the seed are read.
        out: Where the files go.
        progress: Told the share of users done.
    """
    everything = np.ones(len(log), dtype=np.bool_)
    train = training_set(log, everything, as_of, settings.feedback)
    seen = seen_items(log, everything, as_of, settings.feedback.exclude_seen)
    n = settings.score.n + settings.score.margin
    writer = _Lists(model, train, settings.score.n)
    users = np.flatnonzero(log.eligible).astype(np.int32)
    lists = top_n(
        model,
        train,
        users,
        seen,
        train.candidates,
        n,
        block_users=settings.score.block_users,
        rerank=Reranker.of(train, model, settings.rerank) if model else None,
    )
    done = 0
    with pq.ParquetWriter(out.folder / "lists.parquet", writer.schema, compression="zstd") as file:
        for block in lists:
            file.write_batch(writer.batch(block))
            done += len(block.user_idx)
            progress(0.9 * done / len(users), f"{done:,} of {len(users):,} users")
    _write_popular(Fallback(train, train.candidates), train, n + _POPULAR_SPARES, out)
    relation = None if model is None else model.relation()
    if relation is None:
        relation = _by_co_occurrence(train, settings)
    candidates = train.candidates
    _write_neighbours(
        relation, train.items, ITEM_ID, candidates, settings.score.similar,
        out.folder / "similar.parquet",
    )  # fmt: skip
    if settings.score.similar_users and isinstance(model, FactorModel):
        vectors = ItemVectors.of(model.factors()[0], model.known_users)
        _write_neighbours(
            vectors, train.users, USER_ID, log.eligible & model.known_users,
            settings.score.similar_users, out.folder / "similar_users.parquet",
        )  # fmt: skip
    progress(1.0)
    out.summary.update(writer.summary())


class _Lists:
    """Turns blocks into rows of ``lists.parquet``, and counts what is on them.

    Args:
        model: Whose name is the source of its entries.
        train: Everything before ``as_of``.
        n: Length of a full list, without its spares.
    """

    def __init__(self, model: Model | None, train: TrainingSet, n: int) -> None:
        self._train = train
        self._n = n
        self._name = POPULAR if model is None else model.name
        self._relation = None if model is None else model.relation()
        self._history = _liked(train)
        self._range = None if model is None else model.rating_range
        self._by_source: Counter[str] = Counter()
        self._shown = np.zeros(train.n_items, dtype=np.int64)
        self._short = 0
        items = train.items.ids.type
        self.schema = pa.schema(
            [
                (USER_ID, train.users.ids.type),
                ("item_ids", pa.list_(items)),
                ("scores", pa.list_(pa.float32())),
                ("sources", pa.list_(pa.string())),
                ("because_item_ids", pa.list_(items)),
                (REASON, pa.string()),
            ]
        )

    def batch(self, block: TopN) -> pa.RecordBatch:
        """Return the block's rows."""
        length = (block.item_idx >= 0).sum(axis=1)
        on_list = block.item_idx >= 0
        by_model = np.arange(block.item_idx.shape[1]) < block.n_model[:, None]
        because = self._because(block, by_model)
        self._count(block, length)
        values = block.score[on_list]
        if self._range is not None:
            values = np.where(by_model[on_list], values.clip(*self._range), values)
        names = pa.array([POPULAR, self._name])
        sources = pa.DictionaryArray.from_arrays(by_model[on_list].astype(np.int8), names)
        lists = [
            self._train.items.decode(block.item_idx[on_list]),
            pa.array(values, pa.float32()),
            sources.cast(pa.string()),
            self._train.items.decode(because[on_list]),
        ]
        columns = [
            self._train.users.decode(block.user_idx),
            *(_as_lists(column, length) for column in lists),
            self._reasons(length),
        ]
        return pa.record_batch(columns, schema=self.schema)

    def summary(self) -> dict[str, object]:
        """Return the counts over all batches."""
        candidates = self._train.candidates
        return {
            "users": self._by_source.total(),
            "items": int(candidates.sum()),
            "by_source": dict(sorted(self._by_source.items())),
            "short": self._short,
            "coverage": float((self._shown[candidates] > 0).mean()) if candidates.any() else 0.0,
        }

    def _because(self, block: TopN, by_model: BoolArray) -> Int32Array:
        if self._relation is None:
            return np.full_like(block.item_idx, -1)
        asked = np.where(by_model, block.item_idx, -1).astype(np.int32)
        return self._relation.because(asked, block.user_idx, self._history)

    def _count(self, block: TopN, length: Int32Array) -> None:
        top = block.item_idx[:, : self._n]
        self._shown += np.bincount(top[top >= 0], minlength=len(self._shown))
        own, empty = int((block.n_model > 0).sum()), int((length == 0).sum())
        counts = (self._name, own), (POPULAR, len(length) - own - empty), ("none", empty)
        for source, users in counts:
            if users:
                self._by_source[source] += users
        self._short += int((length < self._n).sum())

    def _reasons(self, length: Int32Array) -> pa.Array:
        reasons = [
            f"only {count} of {self._n}: every other candidate has been seen"
            for count in range(self._n)
        ]
        return pa.array(reasons, pa.string()).take(
            pa.array(np.minimum(length, self._n - 1), pa.int32(), mask=length >= self._n)
        )


def _write_popular(fallback: Fallback, train: TrainingSet, n: int, out: StageOutput) -> None:
    """Write the popular list of each segment, and everybody's."""
    length = np.full(len(fallback.segments), min(n, len(fallback.order)))
    ids = train.items.decode(fallback.orders[:, :n].ravel())
    scores = pa.array(fallback.scores[:, :n].ravel(), pa.float32())
    table = pa.table(
        {
            SEGMENT: pa.array(fallback.segments, pa.string()),
            "item_ids": _as_lists(ids, length),
            "scores": _as_lists(scores, length),
        }
    )
    pq.write_table(table, out.folder / "popular.parquet", compression="zstd")


def _write_neighbours(
    relation: ItemRelation, index: Index, key: str, chosen: BoolArray, n: int, path: Path
) -> None:
    """Write the nearest of the chosen items, or users, for each of them, in row groups."""
    ids = index.ids.type
    what = key.removesuffix("_id")
    schema = pa.schema(
        [(key, ids), (f"similar_{what}_ids", pa.list_(ids)), ("scores", pa.list_(pa.float32()))]
    )
    rows = np.flatnonzero(chosen).astype(np.int32)
    step = max(1, min(_BLOCK_ITEMS, _SIMILAR_SCORES // max(len(chosen), 1)))
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            found, score = relation.similar(block, chosen, max(n, 1))
            found, score = found[:, :n], score[:, :n]
            given = found >= 0
            columns = [
                index.decode(block),
                _as_lists(index.decode(found[given]), given.sum(axis=1)),
                _as_lists(pa.array(score[given], pa.float32()), given.sum(axis=1)),
            ]
            file.write_batch(pa.record_batch(columns, schema=schema))


def _by_co_occurrence(train: TrainingSet, settings: Settings) -> ItemRelation:
    """Return how items relate where the model has no say: by who liked both."""
    job = settings.job
    model = ItemKnn(ItemKnnSettings(), seed=job.seed, threads=job.training_threads)
    model.fit(train, progress=silent)
    return model.relation()


def _liked(train: TrainingSet) -> SeenItems:
    """Return each user's history: the positives, or everything where there are none."""
    user = train.user_idx
    some = np.bincount(user, weights=train.positive, minlength=train.n_users) > 0
    keep = train.positive | ~some[user]
    indptr = np.concatenate([[0], np.cumsum(keep)])[train.indptr]
    return SeenItems(indptr, train.item_idx[keep])


def _as_lists(values: pa.Array, length: Int32Array | Int64Array) -> pa.ListArray:
    """Return a list column from its values one after another and the length of each list."""
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)
