"""`make bench-quality`: every family on splits of real data, and the tables of the docs.

    make bench-quality                                            what is not measured yet: hours
    make bench-quality ARGS='--split ml-1m-99 --model ease'       one cell
    make bench-quality ARGS='--seeds 1 --minutes 30'              cells until the time is over
    make bench-quality ARGS='--page'                              only write the page

Each cell (split, family, seed) is one `recjobs bench quality` in a process of its own, kept as a
file under .cache/bench-quality: one whose split and settings have not changed is not run again. The
data is looked for in RECJOBS_BENCH_DATA, or in ../shared/data; a data set that is not here is left
out, and so is a family that the registry lacks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import data, model_pages, quality_baselines, quality_page
from benchmarks.quality_page import Cells
from benchmarks.quality_splits import SPLITS, Split, cache, digest, files
from recjobs.config import toml_value
from recjobs.models import REGISTRY, RatingModel, model_class

ROOT = Path(__file__).resolve().parents[2]
PRESETS = Path(__file__).with_name("quality_presets.toml")
SEEDS = (1, 2, 3)
#: Nothing in them is random.
ONE_SEED = {"popular", "user_knn", "item_knn", "ease", "graph_filter", "content"}

console = Console(highlight=False, stderr=True, soft_wrap=True)


def main() -> int:
    """Run the cells that are missing, then write the page."""
    args = _arguments()
    presets = tomllib.loads(PRESETS.read_text(encoding="utf-8"))
    until = time.monotonic() + 60 * args.minutes
    failed = 0
    for split, model, seed in [] if args.page else _wanted(args):
        if time.monotonic() > until:
            console.print(f"{args.minutes:g} minutes are over; the same command goes on from here")
            break
        failed += not _cell(split, model, seed, presets, args.threads)
    _page(presets)
    return min(failed, 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", action="append", choices=SPLITS, help="only this; repeatable")
    parser.add_argument("--model", action="append", help="only this family; repeatable")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="of what is random")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each fit")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start none later")
    parser.add_argument("--page", action="store_true", help="only write the page")
    return parser.parse_args()


def _wanted(args: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    for name, split in SPLITS.items():
        if args.split and name not in args.split:
            continue
        if not data.available(split.folder):
            console.print(f"{name}: skipped, there is no {split.folder} here")
            continue
        for model in _families(split):
            if not args.model or model in args.model:
                for seed in _seeds(model)[: args.seeds]:
                    yield name, model, seed


def _families(split: Split) -> list[str]:
    known = [model for model in split.models if model in REGISTRY]
    if split.protocol == "rating":
        known = [model for model in known if issubclass(model_class(model), RatingModel)]
    return [*known, *(quality_baselines.NAMES if split.baselines else ())]


def _seeds(model: str) -> tuple[int, ...]:
    return SEEDS[:1] if model in ONE_SEED or model in quality_baselines.NAMES else SEEDS


def _cell(name: str, model: str, seed: int, presets: dict[str, Any], threads: int) -> bool:
    """Measure one cell where it is missing; tell whether it is there."""
    split, folder, path = SPLITS[name], files(name, cache()), _path(name, model, seed)
    preset = presets.get(name, {}).get(model, {})
    cell = {"split": digest(folder), "preset": preset}
    if _usable(path, cell):
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    per_user = path.with_suffix(".parquet")
    started = time.monotonic()
    if model in quality_baselines.NAMES:
        result: dict[str, Any] | None = quality_baselines.run(model, folder, per_user)
    else:
        result = _bench(split, folder, model, seed, preset, threads, per_user)
    seconds = time.monotonic() - started
    label = f"{name}, {model}, seed {seed}"
    if result is None or "error" in result:
        console.print(f"{label}: {(result or {}).get('message', 'failed')}", markup=False)
        return False
    cell |= {
        "result": result,
        "date": f"{time.strftime('%Y-%m-%d')}",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "per_user": str(per_user) if per_user.exists() else "",
    }
    path.write_text(json.dumps(cell, indent=1), encoding="utf-8")
    shown = ", ".join(f"{m} {result['metrics'][m]:.4f}" for m in split.metrics)
    console.print(f"{label}: {shown}; {seconds:.0f} s", markup=False)
    return True


def _bench(
    split: Split,
    folder: Path,
    model: str,
    seed: int,
    preset: dict[str, Any],
    threads: int,
    per_user: Path,
) -> dict[str, Any] | None:
    words = ["--train", str(folder / "train.parquet"), "--test", str(folder / "test.parquet")]
    words += ["--model", model, "--protocol", split.protocol, "--json"]
    words += ["--seed", str(seed), "--threads", str(threads)]
    if split.protocol == "sampled":
        words += ["--negatives", str(folder / "negatives.parquet")]
    if split.protocol != "rating":
        words += ["--per-user", str(per_user)]
    for word in split.words:
        words += [word, str(folder / "items.parquet")] if word == "--items" else [word]
    for key, value in preset.items():
        words += ["--set", f"{key}={toml_value(value)}"]
    done = subprocess.run(
        [sys.executable, "-m", "recjobs.cli", "bench", "quality", *words],
        stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        return None
    return result


def cells_of_today(presets: dict[str, Any]) -> tuple[Cells, set[tuple[str, str]]]:
    """Return the cells of today's settings and rows, and which families have one of other rows.

    Args:
        presets: By split and family, the settings of today.
    """
    measured: dict[str, dict[str, list[dict[str, Any]]]] = {}
    stale = set()
    for name, split in SPLITS.items():
        carved = digest(cache() / "splits" / name)
        for model in _families(split):
            seeds = [
                json.loads(path.read_text(encoding="utf-8"))
                for path in (_path(name, model, seed) for seed in _seeds(model))
                if path.exists()
            ]
            if any(carved not in (None, each["split"]) for each in seeds):
                stale.add((name, model))
            cell = {"preset": presets.get(name, {}).get(model, {})}
            cell |= {} if carved is None else {"split": carved}
            if seeds := [each for each in seeds if _holds(each, cell)]:
                measured.setdefault(name, {})[model] = seeds
    return measured, stale


def _page(presets: dict[str, Any]) -> None:
    measured, stale = cells_of_today(presets)
    quality_page.write(
        ROOT / "docs" / "quality.md",
        measured,
        stale,
        {name: _families(split) for name, split in SPLITS.items()},
        presets,
        PRESETS.read_text(encoding="utf-8"),
    )
    model_pages.write()


def _usable(path: Path, cell: dict[str, Any]) -> bool:
    if not path.exists():
        return False
    return _holds(json.loads(path.read_text(encoding="utf-8")), cell)


def _holds(found: dict[str, Any], cell: dict[str, Any]) -> bool:
    return all(found[key] == value for key, value in cell.items())


def _path(name: str, model: str, seed: int) -> Path:
    return cache() / "cells" / name / f"{model.replace(' ', '_')}-{seed}.json"


if __name__ == "__main__":
    sys.exit(main())
