"""The report's plots, one function each: data in, a picture and its description out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from recjobs.report.canvas import FIRST, INK, MUTED, PAPER, SECOND, drawing
from recjobs.report.numbers import Estimate, duration, fixed, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Dates that fit below a plot.
_DATES: Final = 7


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot.

    Attributes:
        svg: The ``<svg>`` element, safe to put into the page.
        alt: What it shows, in words, for those who don't see it.
    """

    svg: Markup
    alt: str


def by_model(metric: str, estimates: Mapping[str, Estimate], ours: str) -> Plot:
    """Draw one dot and its interval per model, the best on top.

    Args:
        metric: The metric's name, on the axis.
        estimates: By model.
        ours: The model that is drawn in the accent colour.
    """
    names = sorted(estimates, key=lambda name: estimates[name].value)
    with drawing(0.7 + 0.34 * len(names)) as canvas:
        axes = canvas.axes
        for row, name in enumerate(names):
            estimate, colour = estimates[name], FIRST if name == ours else MUTED
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [row, row], color=colour)
            axes.plot(estimate.value, row, "o", color=colour, markersize=7 if name == ours else 5)
            axes.annotate(
                fixed(estimate.value), (estimate.value, row), (0, 6), color=INK, fontsize=8.5,
                textcoords="offset points", ha="center",
            )  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(-0.6, len(names) - 0.3)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.set_xlim(left=0)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(metric)
    best = "; ".join(f"{name} {estimates[name]}" for name in reversed(names))
    return Plot(canvas.svg, f"{metric} by model, with intervals: {best}.")


def training(
    epochs: Sequence[int],
    loss: Sequence[float],
    validation: Sequence[float | None],
    metric: str,
    best_epoch: int | None,
) -> Plot:
    """Draw the loss and, below it on the same epochs, the validation metric; mark the best epoch.

    Args:
        epochs: Epoch numbers, from 1.
        loss: The training loss of each.
        validation: The validation metric of each, None where there is none.
        metric: What validation measures.
        best_epoch: The epoch whose weights were kept.
    """
    measured = [(e, v) for e, v in zip(epochs, validation, strict=True) if v is not None]
    panels = 2 if measured else 1
    with drawing(0.9 + 1.4 * panels, panels) as canvas:
        top, *below = canvas.panels
        top.plot(epochs, loss, "o-", color=MUTED, markersize=3)
        top.set_ylabel("training loss")
        for axes in below:
            axes.plot(*zip(*measured, strict=True), "o-", color=FIRST, markersize=3)
            axes.set_ylabel(f"validation {metric}")
        _whole_numbers([top, *below][-1], epochs)
        if best_epoch is not None:
            for axes in (top, *below):
                axes.axvline(best_epoch, color=SECOND, linestyle="--", linewidth=1.2)
            left = best_epoch > (min(epochs) + max(epochs)) / 2
            top.annotate(
                f"best epoch {best_epoch}", (best_epoch, 1), (-5 if left else 5, -9),
                xycoords=("data", "axes fraction"), textcoords="offset points", color=SECOND,
                ha="right" if left else "left",
            )  # fmt: skip
        [top, *below][-1].set_xlabel("epoch")
    told = f"Training over {len(epochs)} epochs: loss from {number(loss[0])} to {number(loss[-1])}"
    if measured:
        told += f", validation {metric} from {fixed(measured[0][1])} to {fixed(measured[-1][1])}"
    return Plot(canvas.svg, f"{told}; best epoch {best_epoch or 'not chosen'}.")


def tradeoff(points: Sequence[Mapping[str, float]]) -> Plot:
    """Draw what re-ranking costs against what it gives, one panel per gain, along its strength.

    Args:
        points: Of `recjobs.evaluate.tradeoff`, by ascending strength; 1 is what is published.
    """
    gains = {"likeness": "likeness in a list", "coverage": "coverage",
             "mean_popularity": "mean popularity"}  # fmt: skip
    with drawing(2.4, 1, len(gains)) as canvas:
        for axes, (key, label) in zip(canvas.panels, gains.items(), strict=True):
            line = [(point[key], point["ndcg@10"]) for point in points]
            axes.plot(*zip(*line, strict=True), "o-", color=MUTED, markersize=3)
            for point, place in zip(points, line, strict=True):
                published = point["strength"] == 1
                axes.plot(*place, "o", color=FIRST if published else MUTED,
                          markersize=7 if published else 3)  # fmt: skip
                axes.annotate(f"{point['strength']:g}", place, (4, 4), fontsize=8, color=INK,
                              textcoords="offset points")  # fmt: skip
            axes.set_xlabel(label)
        canvas.panels[0].set_ylabel("ndcg@10")
    told = "; ".join(
        f"strength {point['strength']:g}: ndcg@10 {fixed(point['ndcg@10'])}, "
        + ", ".join(f"{label} {fixed(point[key])}" for key, label in gains.items())
        for point in points
    )
    return Plot(canvas.svg, f"Accuracy against what re-ranking is for. {told}.")


@dataclass(frozen=True, slots=True)
class Night:
    """A point of `over_nights`; ``as_of`` is a naive time in the job's time zone."""

    as_of: datetime
    estimate: Estimate
    was_live: bool


def over_nights(metric: str, nights: Mapping[str, Sequence[Night]], ours: str) -> Plot:
    """Draw the metric night by night, one line per model; filled dots are nights that went live.

    Args:
        metric: The metric's name, on the axis.
        nights: By model, oldest first.
        ours: The model that is drawn in the accent colour.
    """
    from matplotlib import dates

    calendar: Any = dates  # without annotations
    with drawing(2.7) as canvas:
        axes = canvas.axes
        for name, colour, style in _styled(nights, ours):
            line = [(float(calendar.date2num(n.as_of)), n.estimate.value) for n in nights[name]]
            axes.plot(*zip(*line, strict=True), style, color=colour, label=name)
            for (x, y), night in zip(line, nights[name], strict=True):
                low, high = night.estimate.low, night.estimate.high
                # Everyone's intervals on one day would lie on top of each other.
                if name == ours and low is not None and high is not None:
                    axes.plot([x, x], [low, high], color=colour, linewidth=1.2, alpha=0.7)
                face = colour if night.was_live else PAPER
                axes.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=5)
        days = sorted({night.as_of for rows in nights.values() for night in rows})
        shown = days[:: -(-len(days) // _DATES)]
        axes.set_xticks([calendar.date2num(day) for day in shown], [f"{d:%d %b}" for d in shown])
        axes.set_ylim(bottom=0)
        axes.set_ylabel(metric)
        axes.set_xlabel(f"as of, {days[0]:%Y-%m-%d} to {days[-1]:%Y-%m-%d}")
        _legend(axes, len(nights))
    told = "; ".join(
        f"{name}: " + ", ".join(f"{n.as_of:%Y-%m-%d} {fixed(n.estimate.value)}" for n in rows[-7:])
        for name, rows in nights.items()
    )
    return Plot(canvas.svg, f"{metric} over nights (the last seven at most). {told}.")


def popularity(share_of_items: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Plot:
    """Draw which share of all plays the most popular items take, consumed and recommended.

    Args:
        share_of_items: Shares of the catalogue, most consumed items first, ascending in (0, 1].
        curves: By name, the cumulated share that these items take, in [0, 1].
    """
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    with drawing(2.9) as canvas:
        axes = canvas.axes
        for (name, share), colour, style in zip(
            curves.items(), (MUTED, FIRST), ("--", "-"), strict=False
        ):
            axes.plot(share_of_items, share, style, color=colour, label=name)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}%"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
        axes.set_xlabel("share of the catalogue, most consumed items first (log scale)")
        axes.set_ylabel("cumulated share")
        _legend(axes, len(curves))
    at = min(range(len(share_of_items)), key=lambda i: abs(share_of_items[i] - 0.01))
    told = ", ".join(f"{share[at]:.0%} of what is {name}" for name, share in curves.items())
    return Plot(
        canvas.svg,
        f"The most consumed {share_of_items[at]:.1%} of the catalogue make up {told}.",
    )


def timings(seconds: Mapping[str, float], failed: str | None) -> Plot:
    """Draw one bar per stage, in the order of the night; the failed one in the second colour.

    Args:
        seconds: By stage.
        failed: The stage that failed, if one did.
    """
    names = list(seconds)
    with drawing(0.7 + 0.25 * len(names)) as canvas:
        axes = canvas.axes
        colours = [SECOND if name == failed else FIRST for name in names]
        axes.barh(names, list(seconds.values()), color=colours, height=0.62)
        for row, name in enumerate(names):
            axes.annotate(
                duration(seconds[name]), (seconds[name], row), (4, 0), color=INK, fontsize=8.5,
                textcoords="offset points", va="center",
            )  # fmt: skip
        axes.invert_yaxis()
        axes.set_xlim(0, max([*seconds.values(), 0.001]) * 1.14)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds")
    told = ", ".join(f"{name} {duration(seconds[name])}" for name in names)
    return Plot(canvas.svg, f"Time by stage: {told}.")


def _styled(names: Iterable[str], ours: str) -> list[tuple[str, str, str]]:
    """Return (name, colour, line style): ours in front in the accent colour, the others apart."""
    styles = iter(["--", ":", "-."] * 5)
    others = [(name, MUTED, next(styles)) for name in names if name != ours]
    return [*others, (ours, FIRST, "-")] if ours in names else others


def _legend(axes: Axes, entries: int) -> None:
    if entries > 1:
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=min(entries, 4), borderaxespad=0.2,
            handlelength=2.4, columnspacing=1.2,
        )  # fmt: skip


def _whole_numbers(axes: Axes, values: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(min(values) - 0.4, max(values) + 0.4)
