"""The figures of ``docs/quality.md`` on the models' pages: copied, so that they can't disagree.

    PYTHONPATH=tests .venv/bin/python -m benchmarks.model_pages

`make bench-quality` does the same after it has written ``docs/quality.md``. Between the marks of
``docs/models/NAME.md`` stands what the family reached on each split; between those of
``docs/models.md``, all families on the splits by ranking, and on those of new users and new items.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recjobs.models import REGISTRY

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_PLACE: Final = re.compile(r"(<!-- (measured(?:-\w+)?) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
#: Before the columns that say how it was measured, each family's row has the name and the metrics.
_AFTER_METRICS: Final = "seeds"


@dataclass(frozen=True, slots=True)
class Table:
    """A split of ``docs/quality.md``.

    Attributes:
        title: Its heading.
        name: What `make bench-quality` calls it.
        protocol: Of `recjobs bench quality`.
        columns: The heads of its columns; the first is the family's.
        rows: By family, best first, a value for each column.
        differences: By family, the difference from each family that it is compared with.
    """

    title: str
    name: str
    protocol: str
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]]
    differences: dict[str, dict[str, str]]

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics; the first is the one that the families are ordered by."""
        return self.columns[1 : self.columns.index(_AFTER_METRICS)]

    @property
    def anchor(self) -> str:
        """The heading's, as GitHub makes it."""
        return anchor(self.title)


def anchor(heading: str) -> str:
    """Return what a link to a heading ends in."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def tables(quality: str) -> list[Table]:
    """Return the measured splits of the page, in its order."""
    found = []
    for title, body in re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", quality, re.DOTALL | re.M):
        head = re.search(r"^`([\w-]+)`, protocol \*(\w+)\*$", body, re.M)
        rows = _rows(rf"\| family \| .*\| {_AFTER_METRICS} \|", body)
        if head and rows:
            columns = tuple(next(iter(rows.values())))
            minus = {
                family: {other[7:-1]: shown for other, shown in row.items() if other != "family"}
                for family, row in _rows(r"\| family \| minus `", body).items()
            }
            found.append(Table(title, head[1], head[2], columns, rows, minus))
    return found


def _rows(head: str, body: str) -> dict[str, dict[str, str]]:
    """Return the rows of the table whose head begins so, by family; none where there is none."""
    table = re.search(rf"^{head}(?:.*\n\|)*.*", body, re.M)
    if not table:
        return {}
    columns, _, *rows = map(_cells, table[0].splitlines())
    return {row[0].strip("`"): dict(zip(columns, row, strict=True)) for row in rows}


def pages(docs: Path) -> dict[Path, str]:
    """Return the pages with their places filled from ``docs/quality.md``."""
    found = tables((docs / "quality.md").read_text(encoding="utf-8"))
    parts = {
        "measured-ranking": _of_all(found, _ranks_what_is_known),
        "measured-cold": _of_all(found, _is_cold),
    }
    return {
        page: _filled(page, {**parts, "measured": _of_model(found, page.stem)})
        for page in [docs / "models.md", *sorted((docs / "models").glob("*.md"))]
    }


def write(docs: Path = DOCS) -> None:
    """Write the pages."""
    for page, text in pages(docs).items():
        page.write_text(text, encoding="utf-8")


def _filled(page: Path, parts: Mapping[str, str]) -> str:
    def fill(place: re.Match[str]) -> str:
        return f"{place[1]}\n{parts[place[2]]}\n\n{place[3]}"

    return _PLACE.sub(fill, page.read_text(encoding="utf-8"))


def _of_model(found: Sequence[Table], name: str) -> str:
    """Return what one family reached, a row for each split."""
    lines = ["| split | metric | figure | best there | settings | fit s | MB |", "|---" * 7 + "|"]
    for table in found:
        if name in table.rows:
            row, metric, best = table.rows[name], table.metrics[0], next(iter(table.rows))
            mean = table.rows[best][metric].split()[0]
            cells = [
                f"[{table.title}](../quality.md#{table.anchor})", metric, row[metric],
                "itself" if best == name else f"`{best}` {mean}",
                row["settings"], row["fit s"], row["MB"],
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    if len(lines) == 2:
        return "Not measured on the splits of [quality.md](../quality.md) yet."
    return "\n".join(lines)


def _of_all(found: Sequence[Table], wanted: Callable[[Table], bool]) -> str:
    """Return a table with a row for each family and a column for each split."""
    chosen = [table for table in found if wanted(table)]
    names = sorted({name for table in chosen for name in table.rows})
    heads = [f"[{table.name}](quality.md#{table.anchor})<br>{table.metrics[0]}" for table in chosen]
    lines = [f"| family | {' | '.join(heads)} |", "|---" * (len(chosen) + 1) + "|"]
    for name in names:
        link = f"[`{name}`](models/{name}.md)" if name in REGISTRY else name
        lines.append(f"| {link} | {' | '.join(_figure(table, name) for table in chosen)} |")
    return "\n".join(lines)


def _figure(table: Table, name: str) -> str:
    """Return a family's mean, strong where it is the best, with a star for settings of its own."""
    if name not in table.rows:
        return ""
    mean = table.rows[name][table.metrics[0]].split()[0]
    star = "" if table.rows[name]["settings"] == "defaults" else "\\*"
    return f"**{mean}**{star}" if name == next(iter(table.rows)) else mean + star


def _is_cold(table: Table) -> bool:
    return "-new-" in table.name


def _ranks_what_is_known(table: Table) -> bool:
    return table.protocol != "rating" and not _is_cold(table)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r" \|(?: |$)", line.strip().removeprefix("|"))[:-1]]


if __name__ == "__main__":
    write()
