"""A user's list and history for a terminal."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from recjobs.columns import POPULAR
from recjobs.report.numbers import fixed
from recjobs.show.user import ListedItem, Status, UserView

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_SAID: Final[dict[Status, str]] = {
    "served": "served",
    "short": "fewer items than a list should have",
    "empty": "no items",
    "not eligible": "not eligible: an application gets no items",
    "unknown": "unknown to the live run: an application gets the popular items",
    "nothing live": "no run is live yet, so nobody has a list",
}


def render(view: UserView) -> RenderableType:
    """Return the view for a terminal; ids and titles are never read as markup."""
    from rich.console import Group
    from rich.text import Text

    origin = ""
    if view.as_of is not None:
        as_of = f"{view.as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        origin = f"\nrun {view.run_id}, model {view.model}, as of {as_of}"
    said = _SAID[view.status] + (f" ({view.reason})" if view.reason else "")
    parts: list[RenderableType] = [
        Text.assemble((f"User {view.user_id}", "bold"), f": {said}", (origin, "dim"))
    ]
    if view.items:
        parts.append(_list_table(view))
    if view.history:
        parts.append(_history_table(view))
    elif view.run_id is not None:
        parts.append(Text(f"History: {view.history_missing or 'none before as_of'}", "dim"))
    return Group(*parts)


def _list_table(view: UserView) -> Table:
    fallback = all(item.source == POPULAR for item in view.items)
    table = _table("The popular items" if fallback else "The list")
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("source" if fallback else "because of")
    table.add_column("score", justify="right")
    for item in view.items:
        _add(
            table,
            str(item.rank),
            _named(item.item_id, item.title),
            _because(item) or item.source,
            fixed(item.score),
        )
    return table


def _because(item: ListedItem) -> str:
    """Return the item of the history that weighed most, and the features that did."""
    reasons = []
    if item.because_item_id is not None:
        reasons.append(_named(item.because_item_id, item.because_title))
    if item.because_features is not None:
        reasons.append(item.because_features)
    return ": ".join(reasons)


def _history_table(view: UserView) -> Table:
    whole = view.interactions == len(view.history)
    title = "The history" if whole else f"The newest of {view.interactions:,} interactions"
    table = _table(title)
    table.add_column("day")
    table.add_column("item")
    table.add_column("", justify="right")
    for past in view.history:
        rating = "" if past.rating is None else f"{past.rating:g}"
        note = " ".join(part for part in (rating, past.event) if part)
        _add(table, f"{past.ts:%Y-%m-%d}", _named(past.item_id, past.title), note)
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _add(table: Table, *cells: str) -> None:
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))  # as a str, a title could be read as markup


def _named(item_id: int | str, title: str | None) -> str:
    return f"{title} ({item_id})" if title else str(item_id)
