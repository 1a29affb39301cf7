"""Blocks of lists as rows of ``lists.parquet``: ids, sources, and the reasons behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import POPULAR, REASON, USER_ID
from recjobs.dataset import BoolArray, Int32Array, Int64Array, SeenItems, TrainingSet
from recjobs.models.base import Model
from recjobs.models.relations import TellsFeatures
from recjobs.topn import TopN

#: One of a few names in nearly every entry.
_SOURCE: Final = pa.dictionary(pa.int32(), pa.string())


class ListRows:
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
        if isinstance(self._relation, TellsFeatures):
            self._names = pa.array(self._relation.names, pa.string())
        self._history = _liked(train)
        self._range = None if model is None else model.rating_range
        self._by_source: Counter[str] = Counter()
        self._short = 0
        items = train.items.ids.type
        self.schema = pa.schema(
            [
                (USER_ID, train.users.ids.type),
                ("item_ids", pa.list_(items)),
                ("scores", pa.list_(pa.float32())),
                ("sources", pa.list_(_SOURCE)),
                ("because_item_ids", pa.list_(items)),
                ("because_features", pa.list_(pa.string())),
                (REASON, pa.string()),
            ]
        )

    def batch(self, block: TopN) -> pa.RecordBatch:
        """Return the block's rows."""
        length = (block.item_idx >= 0).sum(axis=1)
        on_list = block.item_idx >= 0
        by_model = np.arange(block.item_idx.shape[1]) < block.n_model[:, None]
        asked = np.where(by_model, block.item_idx, -1).astype(np.int32)
        because = self._because(asked, block.user_idx)
        self._count(block, length)
        values = block.score[on_list]
        if self._range is not None:
            values = np.where(by_model[on_list], values.clip(*self._range), values)
        names = pa.array([POPULAR, self._name])
        sources = pa.DictionaryArray.from_arrays(by_model[on_list].astype(np.int32), names)
        lists = [
            self._train.items.decode(block.item_idx[on_list]),
            pa.array(values, pa.float32()),
            sources,
            self._train.items.decode(because[on_list]),
        ]
        columns = [
            self._train.users.decode(block.user_idx),
            *(as_lists(column, length) for column in lists),
            self._features(asked, block.user_idx, on_list),
            self._reasons(length),
        ]
        return pa.record_batch(columns, schema=self.schema)

    def summary(self) -> dict[str, object]:
        """Return the counts over all batches: users, those by source, those with a short list."""
        return {
            "users": self._by_source.total(),
            "by_source": dict(sorted(self._by_source.items())),
            "short": self._short,
        }

    def _because(self, asked: Int32Array, users: Int32Array) -> Int32Array:
        if self._relation is None:
            return np.full_like(asked, -1)
        return self._relation.because(asked, users, self._history)

    def _features(self, asked: Int32Array, users: Int32Array, on_list: BoolArray) -> pa.Array:
        if not isinstance(self._relation, TellsFeatures):
            return pa.nulls(len(users), pa.list_(pa.string()))
        told = self._relation.because_features(asked, users)[on_list]
        line, *others = (self._names.take(pa.array(idx, mask=idx < 0)) for idx in told.T)
        for more in others:
            line = pc.coalesce(pc.binary_join_element_wise(line, more, ", "), line)
        return as_lists(line, on_list.sum(axis=1))

    def _count(self, block: TopN, length: Int32Array) -> None:
        own, empty = int((block.n_model > 0).sum()), int((length == 0).sum())
        counts = (self._name, own), (POPULAR, len(length) - own - empty), ("none", empty)
        for source, users in counts:
            if users:
                self._by_source[source] += users
        self._short += int((length < self._n).sum())

    def _reasons(self, length: Int32Array) -> pa.Array:
        reasons = [
            f"only {count} of {self._n}: there is no other unseen candidate"
            for count in range(self._n)
        ]
        return pa.array(reasons, pa.string()).take(
            pa.array(np.minimum(length, self._n - 1), pa.int32(), mask=length >= self._n)
        )


def added(summaries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of several parts of the lists (`ListRows.summary`) added up."""
    users, short = 0, 0
    by_source: Counter[str] = Counter()
    for summary in summaries:
        users += summary["users"]
        short += summary["short"]
        by_source.update(summary["by_source"])
    return {"users": users, "by_source": dict(sorted(by_source.items())), "short": short}


def as_lists(values: pa.Array, length: Int32Array | Int64Array) -> pa.ListArray:
    """Return a list column from its values one after another and the length of each list."""
    offsets = np.concatenate([[0], np.cumsum(length)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _liked(train: TrainingSet) -> SeenItems:
    """Return each user's history: the positives, or everything where there are none."""
    if train.positive.all():
        return SeenItems(train.indptr, train.item_idx)
    user = train.user_idx
    some = np.bincount(user, weights=train.positive, minlength=train.n_users) > 0
    keep = train.positive | ~some[user]
    indptr = np.concatenate([[0], np.cumsum(keep)])[train.indptr]
    return SeenItems(indptr, train.item_idx[keep])
