"""The evaluation as rows: what each model reached, and how the evaluated one differs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
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

#: The segments that the gate reads differences of.
_GATED: Final = ("known", "all")

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


def rows_of(
    judged: Holdout, name: str, lists: Mapping[str, Int32Array], bootstrap: Bootstrap
) -> tuple[list[Row], list[Row]]:
    """Return what every model reached, and how one of them differs from each other one.

    Everything is drawn at once, the same users for all of it; an empty segment has no rows.

    Args:
        judged: The holdout.
        name: Of the model whose differences are wanted, user by user.
        lists: Of each model, ``(n_judged, n)``.
        bootstrap: The draws.

    Returns:
        The rows of ``metrics.parquet``, and those of the differences in the gate's segments.
    """
    values = {model: accuracy(judged, each) for model, each in lists.items()}
    others = [other for other in lists if other != name]
    popularity = item_shares(judged)
    exposures = [metrics.mean_popularity(each[:, :10], popularity) for each in lists.values()]
    stacked = np.hstack(
        [
            *values.values(),
            *(values[name] - values[other] for other in others),
            np.column_stack(exposures),
        ]
    )
    rows: list[Row] = []
    differences: list[Row] = []
    for segment, intervals in _by_segment(judged, stacked, bootstrap).items():
        members, each = judged.segments[segment], iter(intervals)
        for model, metric in product(lists, RANKING_METRICS):
            rows.append(row(model, segment, metric, next(each), int(members.sum())))
        for other, (column, metric) in product(others, enumerate(RANKING_METRICS)):
            difference = next(each)
            if segment in _GATED:
                its = float(values[other][members, column].mean())
                differences.append(
                    {
                        "segment": segment,
                        "metric": metric,
                        "against": other,
                        "challenger": float(values[name][members, column].mean()),
                        "other": its,
                        "mean": difference.value,
                        "low": difference.low,
                        "high": difference.high,
                        "relative": difference.value / its if its else None,
                        "users": int(members.sum()),
                    }
                )
        if segment == "all":
            rows += _exposure_rows(judged, lists, list(each))
    return rows, differences


def _by_segment(
    judged: Holdout, values: Float64Array, bootstrap: Bootstrap
) -> dict[str, list[Interval]]:
    """Return the mean of each column, ``(n_judged, n_columns)``, over who is in each segment."""
    # Where nobody is new, say, everyone is known: drawn once.
    drawn: dict[bytes, list[Interval]] = {}
    found = {}
    for segment, members in judged.segments.items():
        if members.any():
            who = members.tobytes()
            if who not in drawn:
                drawn[who] = metrics.mean_interval(values[members], bootstrap)
            found[segment] = drawn[who]
    return found


def item_shares(judged: Holdout) -> Float64Array:
    """Return which share of all users with a history has each item, ``(n_items,)``."""
    train = judged.train
    owners = max(int((train.history > 0).sum()), 1)
    share: Float64Array = np.bincount(train.item_idx, minlength=train.n_items) / owners
    return share


def _exposure_rows(
    judged: Holdout, lists: Mapping[str, Int32Array], popularity: list[Interval]
) -> list[Row]:
    """Return coverage, Gini and mean popularity of the first ten, over everyone who is judged."""
    rows = []
    for (name, each), mean in zip(lists.items(), popularity, strict=True):
        exposed = metrics.exposure(each[:, :10], judged.train.candidates)
        for metric, value in (
            ("coverage", metrics.coverage(exposed)),
            ("gini", metrics.gini(exposed)),
            ("mean_popularity", mean),
        ):
            rows.append(row(name, "all", metric, value, len(judged.users)))
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
