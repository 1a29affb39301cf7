"""What re-ranking costs and what it gives, at several strengths, over the same held-out rows."""

from __future__ import annotations

from typing import Final

from recjobs.config import Settings
from recjobs.evaluate.holdout import Holdout
from recjobs.evaluate.ranking import ranked
from recjobs.evaluate.table import item_shares
from recjobs.metrics import coverage, exposure, hits, mean_popularity, ndcg
from recjobs.models import Model
from recjobs.rerank import Reranker

#: What the weights of the settings are multiplied by.
_STRENGTHS: Final = (0.0, 0.25, 0.5, 1.0, 2.0)
_K: Final = 10


def tradeoff(
    model: Model, judged: Holdout, settings: Settings, rerank: Reranker
) -> list[dict[str, float]]:
    """Return, for each strength, the means over the judged users of their first ten.

    Keys: strength, ndcg@10, likeness (mean similarity of any two items of a list), coverage,
    mean_popularity.
    """
    train = judged.train
    share = item_shares(judged)
    found = []
    for strength in _STRENGTHS:
        lists = ranked(
            model,
            train,
            judged.users,
            judged.seen,
            train.candidates,
            settings.score.block_users,
            rerank.times(strength),
        )[:, :_K]
        hit = hits(lists, judged.indptr, judged.relevant)
        found.append(
            {
                "strength": strength,
                "ndcg@10": float(ndcg(hit, judged.n_relevant, _K).mean()),
                "likeness": float(rerank.likeness(lists).mean()),
                "coverage": coverage(exposure(lists, train.candidates)),
                "mean_popularity": float(mean_popularity(lists, share).mean()),
            }
        )
    return found
