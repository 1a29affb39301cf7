"""Re-ranking: each list anew from the model's best, for more than accuracy.

Places are given one by one: to the item with the greatest

    relevance - popularity * p - diversity * max similarity to those above - calibration * KL

where relevance is the score scaled to 0..1 over the user's pool, p the item's place among all items
by popularity (0 least, 1 most), similarity the cosine of categories (or of the model's vectors
where no categories are known), and KL the divergence of the list's shares of categories from those
of the user's history. Carbonell and Goldstein, "The Use of MMR", SIGIR 1998; Steck, "Calibrated
Recommendations", RecSys 2018; Abdollahpouri, Burke and Mobasher, FLAIRS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from recjobs.config import RerankSettings
from recjobs.dataset import Float32Array, Int32Array, SeenItems, TrainingSet
from recjobs.errors import ConfigError
from recjobs.models.base import Model
from recjobs.models.relations import ItemVectors
from recjobs.threads import over_rows
from recjobs.topn import TILE_USERS, empty_lists

#: The most frequent categories are told apart, the others left out: a row of shares stays short.
_CATEGORIES: Final = 256
#: The settings that weigh; 0 turns one off.
_WEIGHTS: Final = ("popularity", "diversity", "calibration")


@dataclass(frozen=True, slots=True)
class Reranker:
    """What lists are re-ranked by.

    Attributes:
        settings: The weights and the pool.
        popularity: Each item's place, 0..1, float32 ``(n_items,)``.
        unit: Vectors of length 1 whose product is the similarity, float32 ``(n_items, d)``.
        shares: Each item's shares of categories, float32 ``(n_items, n_categories)``.
        history: What each user liked.
    """

    settings: RerankSettings
    popularity: Float32Array
    unit: Float32Array
    shares: Float32Array
    history: SeenItems

    @classmethod
    def of(cls, train: TrainingSet, model: Model, settings: RerankSettings) -> Self | None:
        """Return the re-ranker, or None where the settings ask for none.

        Args:
            train: What the model was fitted on.
            model: Whose lists they are; its vectors say what is similar where no categories do.
            settings: The section ``[rerank]``.

        Raises:
            ConfigError: What a weight needs is not known of the items.
        """
        if not settings.asked:
            return None
        shares = category_shares(train)
        if settings.calibration and not shares.shape[1]:
            raise ConfigError(
                "rerank.calibration keeps the shares of categories: name their columns in "
                "source.items.categories, or set it to 0"
            )
        vectors = (each.unit for each in model.relations() if isinstance(each, ItemVectors))
        if shares.shape[1]:
            unit = ItemVectors.of(shares, np.ones(len(shares), dtype=np.bool_)).unit
        elif (found := next(vectors, None)) is not None or not settings.diversity:
            unit = shares if found is None else found
        else:
            raise ConfigError(
                f"rerank.diversity needs to know what is alike: name source.items.categories, or "
                f"choose a model with vectors. Received: model {model.name}, which has none"
            )
        liked = np.bincount(train.item_idx, weights=train.positive, minlength=train.n_items)
        place = np.searchsorted(np.sort(liked), liked, side="right") / max(len(liked), 1)
        keep = np.concatenate([[0], np.cumsum(train.positive)])
        history = SeenItems(keep[train.indptr], train.item_idx[train.positive])
        return cls(settings, place.astype(np.float32), unit, shares, history)

    def times(self, strength: float) -> Self:
        """Return the same re-ranking with all three weights multiplied."""
        weights = {name: strength * getattr(self.settings, name) for name in _WEIGHTS}
        return replace(self, settings=self.settings.model_copy(update=weights))

    def lists(
        self, users: Int32Array, item_idx: Int32Array, score: Float32Array, n: int
    ) -> tuple[Int32Array, Float32Array]:
        """Return each user's first n: those of the pool in their new order, the others behind.

        So a list begins alike, however long it is: the pool alone says what it is made of.

        Args:
            users: int32, ``(b,)``.
            item_idx: The model's best, best first, int32 ``(b, n or more)``, -1 padded.
            score: float32, of the same shape.
            n: Length of a list.
        """
        from recjobs import kernels

        pool = self.settings.pool
        out_item, out_score = empty_lists(len(users), n)
        out_item[:, pool:], out_score[:, pool:] = item_idx[:, pool:n], score[:, pool:n]
        item_idx, score = item_idx[:, :pool], score[:, :pool]
        given = np.array([getattr(self.settings, name) for name in _WEIGHTS], dtype=np.float32)

        def work(rows: slice) -> None:
            kernels.rerank(
                users[rows], item_idx[rows], score[rows], given, self.popularity, self.unit,
                self.shares, self.history.indptr, self.history.indices,
                out_item[rows, :pool], out_score[rows, :pool],
            )  # fmt: skip

        over_rows(work, len(users), TILE_USERS)
        return out_item, out_score

    def likeness(self, item_idx: Int32Array) -> Float32Array:
        """Return the mean similarity of any two items of each list, float32 ``(b,)``."""
        given = (item_idx >= 0)[:, :, None]
        vectors = np.where(given, self.unit[item_idx], 0)
        total = (vectors.sum(axis=1) ** 2).sum(axis=1) - (vectors**2).sum(axis=(1, 2))
        length = given[:, :, 0].sum(axis=1)
        pairs = length * (length - 1)
        found: Float32Array = np.divide(
            total, pairs, out=np.zeros(len(item_idx), dtype=np.float32), where=pairs > 0
        )
        return found


def category_shares(train: TrainingSet) -> Float32Array:
    """Return each item's shares of the most frequent categories, float32; no column without any."""
    features = train.log.item_features
    if not features.tokens:
        return np.zeros((train.n_items, 0), dtype=np.float32)
    counts = np.bincount(features.token_idx, minlength=len(features.tokens))
    kept = np.sort(np.argsort(-counts, kind="stable")[:_CATEGORIES])
    column_of = np.full(len(counts), -1)
    column_of[kept] = np.arange(len(kept))
    rows = np.repeat(np.arange(len(features)), np.diff(features.indptr))
    columns = column_of[features.token_idx]
    shares = np.zeros((train.n_items, len(kept)), dtype=np.float32)
    shares[rows[columns >= 0], columns[columns >= 0]] = 1
    shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1)
    return shares
