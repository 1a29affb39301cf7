"""SVG that takes the page's own colours and font.

matplotlib draws with placeholder colours, which become CSS variables: a plot follows the page into
dark mode, and its text stays text. Nothing here touches pyplot or its global state.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours to draw with, and the CSS variable that each becomes. No other part of an SVG reads so.
INK: Final = "#010203"
MUTED: Final = "#010204"
LINE: Final = "#010205"
FIRST: Final = "#010206"
SECOND: Final = "#010207"
PAPER: Final = "#010208"
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    PAPER: "var(--paper)",
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recjobs",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
#: Inches: at 1:1 still readable on a phone, and the page enlarges it where there is room.
_WIDTH: Final = 5.0


@dataclass(slots=True)
class Drawing:
    """A plot being drawn.

    Attributes:
        panels: The axes, top to bottom, over one x axis.
        svg: The ``<svg>`` element, safe to put into the page; there once the drawing has ended.
    """

    panels: list[Axes]
    svg: Markup = field(default_factory=Markup)

    @property
    def axes(self) -> Axes:
        """The axes of a plot with one panel."""
        return self.panels[0]


@contextmanager
def drawing(height: float, rows: int = 1, columns: int = 1) -> Iterator[Drawing]:
    """Give axes to draw on, ``height`` inches in all, and render them at the block's end.

    Panels below one another share the x axis, panels side by side the y axis.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure((_WIDTH, height), layout="constrained")
        grid = figure.subplots(rows, columns, sharex="col", sharey="row", squeeze=False)
        made = Drawing(list(grid.ravel()))
        yield made
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        made.svg = Markup(_themed(text.getvalue()))  # matplotlib escapes what it writes


def _themed(svg: str) -> str:
    """Turn matplotlib's SVG file into an element that takes the page's colours, font and width."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 aria-hidden="true"', svg, count=1)
    # The font comes from the page; versions of matplotlib write the two apart or as one.
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    # Several plots share the page: only the ids that something in this one refers to are kept,
    # and made its own.
    own = hashlib.sha256(svg.encode()).hexdigest()[:6]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", svg)
    return re.sub(r'(href="|url\()#', rf"\1#{own}", svg)
