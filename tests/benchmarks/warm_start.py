"""`make bench-warm`: successive nights, each trained warm and cold, judged on the same holdout.

    make bench-warm                                   every case: hours
    make bench-warm ARGS='--case movietweetings --model mf'
    make bench-warm ARGS='--back 7 --nights 2'        nights before those, to choose constants by

Night 0 is trained cold. Each night after it is trained twice by the train stage's own function:
from the model of the night before, and from scratch. Both are judged as the evaluate stage judges.
One JSON object per case and model goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data
from logs import settings_of
from recjobs.artifacts import StageOutput
from recjobs.columns import MICROSECONDS_PER_DAY
from recjobs.config import Settings
from recjobs.dataset import NEVER, Interactions
from recjobs.evaluate.holdout import holdout
from recjobs.evaluate.ranking import ranked
from recjobs.evaluate.table import accuracy
from recjobs.featurize import from_table
from recjobs.index import Index
from recjobs.metrics import Bootstrap, resample
from recjobs.models import Model
from recjobs.progress import silent
from recjobs.split import Split, split
from recjobs.train import Parent, train


@dataclass(frozen=True)
class Case:
    """Nights on one data set.

    Attributes:
        title: In words.
        folder: Of the data set.
        step: From one night to the next: microseconds, or below 1 a share of the rows.
        holdout: That section of the settings.
        models: Their hyperparameters by name.
        every: Only every so many users, where a model would take too long.
    """

    title: str
    folder: str
    step: float
    holdout: dict[str, Any]
    models: dict[str, dict[str, Any]]
    every: dict[str, int] = field(default_factory=dict)


CASES = {
    "movietweetings": Case(
        "MovieTweetings, nights a day apart, the last 7 days held out",
        "movietweetings-100k",
        MICROSECONDS_PER_DAY,
        {"kind": "global_time", "days": 7.0},
        {"mf": {}, "two_tower": {}},
    ),
    "ml-1m": Case(
        "ML-1M, nights 1% of the rows apart, each user's last choice held out",
        "ml-1m-train",
        0.01,
        {"kind": "last_per_user"},
        {"mf": {}, "two_tower": {}, "sasrec": {"length": 50}},
        {"mf": 3, "two_tower": 3, "sasrec": 4},
    ),
}


@dataclass(frozen=True)
class Trained:
    """One fit of the train stage."""

    model: Model
    log: Interactions
    best_epoch: int
    epochs: int
    seconds: float


def main() -> int:
    """Run the cases and print what came out."""
    args = _arguments()
    for case_name, case in CASES.items():
        for model in case.models:
            if case_name in (args.case or CASES) and model in (args.model or case.models):
                print(json.dumps(measured(case_name, model, args), indent=1), flush=True)
    return 0


def measured(case_name: str, model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Return the nights of one case and model, and what they come to."""
    case = CASES[case_name]
    settings = settings_of(
        job={"name": "warm", "seed": args.seed, "training_threads": args.threads},
        model={"name": model, "params": case.models[model]},
        holdout=case.holdout,
    )
    parent: Trained | None = None
    nights, values = [], []
    for number, (log, as_of) in enumerate(night_logs(case, model, args)):
        parts = split(log, settings.holdout, as_of)
        cold = fitted(log, parts, settings, None)
        warm = fitted(log, parts, settings, parent) if parent else None
        parent = warm or cold
        if warm is None:
            continue
        judged = judge(log, parts, settings, [warm.model, cold.model])
        values.append(judged)
        nights.append({"night": number, "rows": len(log), **told(judged, warm, cold)})
        shown = f"{case_name} {model} {nights[-1]}; so far {together(values, nights)}"
        print(shown, file=sys.stderr, flush=True)
    return {
        "case": case.title,
        "model": model,
        "params": case.models[model],
        "one user in": case.every.get(model, 1),
        "seed": args.seed,
        "threads": args.threads,
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d"),
        "nights": nights,
        "together": together(values, nights),
    }


def night_logs(
    case: Case, model: str, args: argparse.Namespace
) -> Iterator[tuple[Interactions, int]]:
    """Yield the log and the as_of of each night, the one that only starts first."""
    rows = data.table(case.folder)
    user, item = (rows[name].to_numpy().astype(np.int64) for name in ("user_id", "item_id"))
    ts = rows["ts"].to_numpy().astype(np.int64) * 1_000_000
    kept = user % case.every.get(model, 1) == 0
    order = np.lexsort((item, ts, user))
    order = order[kept[order]]
    user, item, ts = user[order], item[order], ts[order]
    catalogue = pq.read_table(data.DATA / case.folder / "items.parquet")
    for back in range(args.back + args.nights, args.back - 1, -1):
        if case.step < 1:
            newest = round(len(ts) * (1 - back * case.step)) - 1
            as_of = int(np.partition(ts, newest)[newest]) + 1
        else:
            as_of = int(ts.max() + 1 - back * case.step)
        known = ts < as_of
        users = Index.of("bigint", pa.array(user[known]))
        items = Index.of("bigint", pa.array(item[known]))
        n = int(known.sum())
        log = Interactions(
            users=users,
            items=items,
            user_idx=users.encode(pa.array(user[known])),
            item_idx=items.encode(pa.array(item[known])),
            ts=ts[known],
            rating=np.full(n, np.nan, dtype=np.float32),
            event=np.full(n, -1, dtype=np.int16),
            event_names=(),
            eligible=np.ones(len(users), dtype=np.bool_),
            available=np.ones(len(items), dtype=np.bool_),
            item_created=np.full(len(items), NEVER, dtype=np.int64),
            item_features=from_table(catalogue, items),
        )
        yield log, as_of


def fitted(log: Interactions, parts: Split, settings: Settings, parent: Trained | None) -> Trained:
    """Run the train stage."""
    start = parent and Parent(parent.model, parent.log.users, parent.log.items, parent.best_epoch)
    with tempfile.TemporaryDirectory() as folder:
        out = StageOutput(Path(folder))
        model = train(log, parts, settings, out, silent, parent=start)
    found = out.summary
    return Trained(model, log, found["best_epoch"], found["epochs"], found["fit_seconds"])


def judge(
    log: Interactions, parts: Split, settings: Settings, models: list[Model]
) -> dict[int, npt.NDArray[np.float64]]:
    """Return by user id the NDCG@10 of each model, for the users with a history."""
    judged = holdout(log, parts, settings)
    known = judged.segments["known"]
    lists = [
        ranked(model, judged.train, judged.users, judged.seen, judged.train.candidates, 4096)
        for model in models
    ]
    values = np.column_stack([accuracy(judged, each)[:, 0] for each in lists])[known]
    ids = log.users.decode(judged.users[known]).to_pylist()
    return dict(zip(ids, values, strict=True))


def told(
    judged: dict[int, npt.NDArray[np.float64]], warm: Trained, cold: Trained
) -> dict[str, Any]:
    """Return what one night came to."""
    ours, theirs = np.mean(list(judged.values()), axis=0)
    return {
        "users": len(judged),
        "warm": round(float(ours), 5),
        "cold": round(float(theirs), 5),
        "warm_epochs": warm.epochs,
        "cold_best_epoch": cold.best_epoch,
        "warm_seconds": warm.seconds,
        "cold_seconds": cold.seconds,
    }


def together(
    values: list[dict[int, npt.NDArray[np.float64]]], nights: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the relative difference over all nights; users are drawn with all their nights."""
    owners = sorted({user for night in values for user in night})
    sums = np.zeros((len(owners), 2))
    place = {user: position for position, user in enumerate(owners)}
    for night in values:
        for user, pair in night.items():
            sums[place[user]] += pair
    warm, cold = sums.sum(axis=0)
    drawn = resample(sums, Bootstrap(2000, 0.95, 1))
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / drawn[:, 1], [0.025, 0.975])
    ratio = [night["warm_seconds"] / night["cold_seconds"] for night in nights]
    return {
        "users": len(owners),
        "judged": sum(len(night) for night in values),
        "relative_difference": round(float(warm / cold - 1), 4),
        "low": round(float(low), 4),
        "high": round(float(high), 4),
        "seconds_ratio": round(float(np.median(ratio)), 3),
        "greatest_seconds_ratio": round(max(ratio), 3),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", choices=CASES, help="only this; repeatable")
    parser.add_argument("--model", action="append", help="only this; repeatable")
    parser.add_argument("--nights", type=int, default=5, help="after the first (default: 5)")
    parser.add_argument("--back", type=int, default=0, help="end so many nights earlier")
    parser.add_argument("--seed", type=int, default=1, help="of the fits")
    parser.add_argument("--threads", type=int, default=1, help="of each fit (default: 1)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
