"""The evaluation as rows: what each model reached, and how the evaluated one differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from recjobs import metrics
from recjobs.dataset import Int32Array
from recjobs.evaluate.holdout import Holdout
from recjobs.metrics import Bootstrap, Float64Array, Interval

#: What models are compared by, in the order of `accuracy`'s columns.
RANKING_METRICS: Final = ("ndcg@10", "recall@20", "hit_rate@10", "mrr")
#: Of ``metrics.parquet``.
SCHEMA: Final = pa.schema(
    [
        ("model", pa.string()),
        ("segment", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("users", pa.int64()),
    ]
)

Row = dict[str, Any]


def accuracy(judged: Holdout, lists: Int32Array) -> Float64Array:
    """Return a column per metric of `RANKING_METRICS`, float64 ``(n_judged, 4)``."""
    hit = metrics.hits(lists, judged.indptr, judged.relevant)
    return np.column_stack(
        [
            metrics.ndcg(hit, judged.n_relevant, 10),
            metrics.recall(hit, judged.n_relevant, 20),
            metrics.hit_rate(hit, 10),
            metrics.mrr(hit),
        ]
    )


def ranking_rows(
    judged: Holdout, values: Mapping[str, Float64Array], bootstrap: Bootstrap
) -> list[Row]:
    """Return every model's ranking metrics with intervals, by segment; an empty one has none.

    Args:
        judged: The holdout.
        values: Of `accuracy`, by model.
        bootstrap: The draws, the same users for every model.
    """
    columns = [(name, metric) for name in values for metric in RANKING_METRICS]
    stacked = np.hstack(list(values.values()))
    known: dict[bytes, list[Interval]] = {}
    rows: list[Row] = []
    for segment, members in judged.segments.items():
        if not members.any():
            continue
        # Where nobody is new, say, everyone is known: drawn once.
        who = members.tobytes()
        if who not in known:
            known[who] = metrics.mean_interval(stacked[members], bootstrap)
        for (name, metric), interval in zip(columns, known[who], strict=True):
            rows.append(row(name, segment, metric, interval, int(members.sum())))
    return rows


def exposure_rows(
    judged: Holdout, lists: Mapping[str, Int32Array], bootstrap: Bootstrap
) -> list[Row]:
    """Return coverage, Gini and mean popularity of the first ten, over everyone who is judged."""
    if not len(judged.users):
        return []
    train = judged.train
    owners = max(int((train.history > 0).sum()), 1)
    popularity = np.bincount(train.item_idx, minlength=train.n_items) / owners
    users = len(judged.users)
    rows = []
    for name, each in lists.items():
        first = each[:, :10]
        exposed = metrics.exposure(first, train.candidates)
        mean = metrics.mean_popularity(first, popularity)[:, None]
        interval = metrics.mean_interval(mean, bootstrap)[0]
        rows += [
            row(name, "all", "coverage", metrics.coverage(exposed), users),
            row(name, "all", "gini", metrics.gini(exposed), users),
            row(name, "all", "mean_popularity", interval, users),
        ]
    return rows


def differences(
    judged: Holdout, name: str, values: Mapping[str, Float64Array], bootstrap: Bootstrap
) -> list[Row]:
    """Return the evaluated model minus each other one, paired by user, for the gate's segments."""
    others = [other for other in values if other != name]
    if not others:
        return []
    ours = np.hstack([values[name]] * len(others))
    theirs = np.hstack([values[other] for other in others])
    columns = [(other, metric) for other in others for metric in RANKING_METRICS]
    rows: list[Row] = []
    for segment in ("known", "all"):
        members = judged.segments[segment]
        if not members.any():
            continue
        mine, its = ours[members], theirs[members]
        found = metrics.paired_difference(mine, its, bootstrap)
        means = zip(columns, mine.mean(axis=0), its.mean(axis=0), found, strict=True)
        for (other, metric), challenger, value, difference in means:
            rows.append(
                {
                    "segment": segment,
                    "metric": metric,
                    "against": other,
                    "challenger": float(challenger),
                    "other": float(value),
                    "mean": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                    "relative": difference.value / float(value) if value else None,
                    "users": len(mine),
                }
            )
    return rows


def row(model: str, segment: str, metric: str, value: Interval | float, users: int) -> Row:
    """Return a row of ``metrics.parquet``; a value without an interval has null for both ends."""
    known = value if isinstance(value, Interval) else Interval(value, np.nan, np.nan)
    low, high = (None if np.isnan(end) else end for end in (known.low, known.high))
    return {
        "model": model,
        "segment": segment,
        "metric": metric,
        "value": known.value,
        "low": low,
        "high": high,
        "users": users,
    }
