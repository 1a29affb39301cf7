"""`make bench`: our figures beside others', measured in one run on this machine.

    make bench                                  every stage on shape S, into docs/performance.md
    make bench SHAPE=M                          the full comparison: an hour and more
    make bench SHAPE=L ARGS='--only large'      a million users' lists: how much memory
    make bench ARGS='--only extract publish'    some stages; the page keeps the others'
    make bench ARGS='--only ratings'            the seed article's script on MovieLens latest-small
    make bench ARGS='--only friends'            friend links of Last.fm: who finds those withheld

Ratios count, not seconds: machines differ, and so do the hours of a shared one.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from importlib import import_module

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from rich.console import Console
from rich.table import Table

from benchmarks import data
from benchmarks.performance import growth, page
from benchmarks.performance.harness import Row, apart
from benchmarks.performance.shapes import SHAPES, Shape

#: Quality on real data, each with a table of its own and never on the page.
TABLES = ("ratings", "friends")

console = Console(highlight=False)


def main() -> int:
    """Run the chosen stages; with all of them, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="S")
    parser.add_argument("--repeats", type=int, default=5, help="turns that count, of what is short")
    parser.add_argument("--only", nargs="+", choices=[*page.STAGES, *TABLES])
    args = parser.parse_args()
    shape, chosen = SHAPES[args.shape], args.only or page.STAGES
    for name in [name for name in TABLES if name in chosen]:
        part = import_module(f"benchmarks.{name}")
        there = data.available(part.FOLDER)
        console.print(part.compare() if there else f"{name}: skipped, no {part.FOLDER} here")
    rows: list[Row] = []
    failed = []
    for stage in [stage for stage in page.STAGES if stage in chosen]:
        load = os.getloadavg()
        found = _told(stage, shape, args.repeats)
        if found is None:
            failed.append(stage)
            continue
        rows += found[0]
        page.record(shape, stage, *found, page.machine(load))
    if rows:
        console.print(_table(rows, shape))
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="red")
    return int(bool(failed))


def _told(stage: str, shape: Shape, repeats: int) -> tuple[list[Row], list[growth.Curve]] | None:
    """Run in a process of its own: what one stage leaves in memory is no other's burden."""
    started = time.perf_counter()
    console.print(f"{stage} …", end=" ")
    try:
        return apart(_compare, stage, shape, repeats)
    except Exception:
        console.print(traceback.format_exc(limit=-2), markup=False)
        return None
    finally:
        console.print(f"{time.perf_counter() - started:.0f} s")


def _compare(stage: str, shape: Shape, repeats: int) -> tuple[list[Row], list[growth.Curve]]:
    if stage == "growth":
        curves = list(growth.curves(repeats))
        return growth.rows(curves), curves
    return import_module(f"benchmarks.performance.{stage}").compare(shape, repeats), []


def _table(rows: list[Row], shape: Shape) -> Table:
    table = Table(title=f"shape {shape.name}: {shape.interactions:,} interactions")
    for column in ("stage", "ours", "against", "ratio", "span", "to reach", "note"):
        table.add_column(column, justify="right" if column in ("ratio", "span") else "left")
    for row in rows:
        wanted = "" if row.target is None else f"{row.target[0]} {row.target[1]:g}"
        table.add_row(
            row.stage, row.ours, row.against, f"{row.ratio:.2f}", f"{row.low:.2f}–{row.high:.2f}",
            wanted, row.note, style="red" if row.met is False else None,
        )  # fmt: skip
    return table


if __name__ == "__main__":
    sys.exit(main())
