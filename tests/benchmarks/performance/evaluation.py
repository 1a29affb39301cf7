"""Judging full rankings with intervals, beside ranx on the same lists.

Ours gives four metrics and their bootstrap intervals in five segments. The peer gets the same lists
as data frames, the same four metrics of each user, and the same number of draws of everyone by
numpy, a draw at a time, as a script has it.
"""

from __future__ import annotations

import warnings

import numpy as np

from benchmarks.performance import shapes
from benchmarks.performance.harness import Row, interleave
from benchmarks.performance.shapes import AS_OF, Shape
from recjobs.config import HoldoutSettings, Settings
from recjobs.dataset import Int32Array
from recjobs.evaluate.holdout import Holdout, holdout
from recjobs.evaluate.ranking import LIST_LENGTH, ranked
from recjobs.evaluate.table import rows_of
from recjobs.metrics import Bootstrap
from recjobs.split import split

METRICS = ("ndcg@10", "recall@20", "hit_rate@10", "mrr")
DRAWS = Bootstrap(draws=1000)


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time the metrics of the popular lists of everyone."""
    log = shapes.interactions(shape)
    settings = Settings.model_validate({"job": {"name": "bench"}, "source": {"table": "none"}})
    parts = split(log, HoldoutSettings(kind="last_per_user", last=3), AS_OF)
    judged = holdout(log, parts, settings)
    lists = ranked(None, judged.train, judged.users, judged.seen, judged.train.candidates, 4096)
    ours, bare, whole = "metrics and intervals", "ranx, metrics alone", "ranx, and a bootstrap"
    timings = interleave(
        {
            ours: lambda: _ours(judged, lists),
            bare: lambda: _ranx(judged, lists),
            whole: lambda: _intervals(_ranx(judged, lists)),
        },
        min(repeats, 3),
    )
    mine = _ours(judged, lists)["all"][: len(METRICS)]
    theirs = [float(_ranx(judged, lists)[metric].mean()) for metric in METRICS]
    apart = max(abs(a - b) for a, b in zip(mine, theirs, strict=True))
    note = f"{len(judged.users):,} users, {LIST_LENGTH} places; metrics differ by {apart:.1e}"
    return [
        timings.row("evaluate", ours, whole, ("≥", 5.0), note),
        timings.row("evaluate", ours, bare, None, "which has no intervals and no segments"),
    ]


def _ours(judged: Holdout, lists: Int32Array) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for row in rows_of(judged, "popular", {"popular": lists}, DRAWS)[0]:
        values.setdefault(row["segment"], []).append(row["value"])
    return values


def _ranx(judged: Holdout, lists: Int32Array) -> dict[str, np.ndarray]:
    import pandas as pd

    def names_of(idx: Int32Array) -> pd.Series:
        return pd.Series(idx.astype(str), dtype=object)  # the one type that it takes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ranx import Qrels, Run, evaluate

    user = np.repeat(judged.users, np.diff(judged.indptr))
    relevant = pd.DataFrame({"q": names_of(user), "d": names_of(judged.relevant), "s": 1})
    given = lists >= 0
    row, place = np.nonzero(given)
    score = (LIST_LENGTH - place).astype(float)
    ranking = pd.DataFrame(
        {"q": names_of(judged.users[row]), "d": names_of(lists[given]), "s": score}
    )
    names = {"q_id_col": "q", "doc_id_col": "d", "score_col": "s"}
    found: dict[str, np.ndarray] = evaluate(
        Qrels.from_df(relevant, **names),
        Run.from_df(ranking, **names),
        list(METRICS),
        return_mean=False,
        make_comparable=True,
    )
    return found


def _intervals(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    values = np.column_stack([found[metric] for metric in METRICS])
    means = [
        values[rng.integers(len(values), size=len(values))].mean(axis=0) for _ in range(DRAWS.draws)
    ]
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {"low": low, "high": high}
