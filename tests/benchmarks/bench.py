"""`make bench`: our figures beside others', measured in one run on this machine.

    make bench                                  every stage on shape S, into docs/performance.md
    make bench SHAPE=M                          the full comparison: an hour and more
    make bench ARGS='--only extract publish'    some stages; nothing is written
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

STAGES = (
    "extract", "top_n", "neural", "item_item", "sequence", "similar",
    "publish", "fit", "evaluation", "night",
)  # fmt: skip
GROWTH = "growth"
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
    parser.add_argument("--only", nargs="+", choices=[*STAGES, GROWTH, *TABLES])
    args = parser.parse_args()
    shape, load = SHAPES[args.shape], os.getloadavg()
    for name in [name for name in TABLES if name in (args.only or ())]:
        part = import_module(f"benchmarks.{name}")
        there = data.available(part.FOLDER)
        console.print(part.compare() if there else f"{name}: skipped, no {part.FOLDER} here")
    if args.only and not {*STAGES, GROWTH}.intersection(args.only):
        return 0
    rows: list[Row] = []
    failed = []
    for stage in [stage for stage in STAGES if args.only is None or stage in args.only]:
        found = _told(stage, _compare, stage, shape, args.repeats)
        rows += found or []
        failed += [] if found else [stage]
    curves = []
    if args.only is None or GROWTH in args.only:
        measured = _told(GROWTH, _grow, args.repeats)
        curves, grown = measured or ([], [])
        rows += grown
    console.print(_table(rows, shape))
    console.print(page.machine(load))
    if failed:
        console.print(f"failed: {', '.join(failed)}: the page stays as it was", style="red")
    elif args.only is None:
        page.write(shape, f"make bench SHAPE={shape.name}", rows, curves, load)
    return int(bool(failed))


def _told(name: str, function: object, *arguments: object) -> object:
    """Run in a process of its own: what one stage leaves in memory is no other's burden."""
    started = time.perf_counter()
    console.print(f"{name} …", end=" ")
    try:
        return apart(function, *arguments)
    except Exception:
        console.print(traceback.format_exc(limit=-2), markup=False)
        return None
    finally:
        console.print(f"{time.perf_counter() - started:.0f} s")


def _compare(stage: str, shape: Shape, repeats: int) -> list[Row]:
    found: list[Row] = import_module(f"benchmarks.performance.{stage}").compare(shape, repeats)
    return found


def _grow(repeats: int) -> tuple[list[growth.Curve], list[Row]]:
    curves = list(growth.curves(repeats))
    return curves, growth.rows(curves)


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
