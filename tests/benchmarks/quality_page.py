"""The measured cells as the tables of ``docs/quality.md``; what was measured before stays there."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.model_pages import Table, tables
from benchmarks.quality_splits import SPLITS, Split
from recjobs.metrics import Bootstrap, mean_interval

START, END = "<!-- measured -->", "<!-- /measured -->"
Cells = Mapping[str, Mapping[str, Sequence[dict[str, Any]]]]


def write(
    page: Path,
    cells: Cells,
    stale: Container[tuple[str, str]],
    families: Mapping[str, Sequence[str]],
    presets: Mapping[str, Mapping[str, Mapping[str, Any]]],
    shown: str,
) -> None:
    """Put the tables between the page's marks.

    A family that was not measured anew, or with fewer seeds than before, keeps its row, if it was
    measured with the settings of today.

    Args:
        page: With both marks.
        cells: By split and family, the results of its seeds, all with the settings of today.
        stale: Splits and families that were measured here on other rows: none keeps its row.
        families: By split, those of the registry that are to be measured.
        presets: By split and family, the settings of today.
        shown: The presets as a text.
    """
    text = page.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    measured = {table.name: table for table in tables(text)}
    parts = [
        _part(
            name,
            cells.get(name, {}),
            stale,
            families[name],
            presets.get(name, {}),
            measured.get(name),
        )
        for name in SPLITS
    ]
    body = "\n\n".join([*parts, f"### Presets\n\n```toml\n{shown.strip()}\n```"])
    page.write_text(f"{before}{START}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def _part(
    name: str,
    cells: Mapping[str, Sequence[dict[str, Any]]],
    stale: Container[tuple[str, str]],
    families: Sequence[str],
    presets: Mapping[str, Mapping[str, Any]],
    before: Table | None,
) -> str:
    split = SPLITS[name]
    head = ["family", *split.metrics, "seeds", "settings", "fit s", "score s", "MB", "threads"]
    head += ["on"]
    stay: dict[str, dict[str, str]] = {}
    if before is not None and list(before.columns) == head:
        stay = {
            family: row
            for family, row in before.rows.items()
            if (name, family) not in stale
            and row["settings"] == _settings(presets.get(family, {}))
            and (len(cells.get(family, ())), _date(cells.get(family, ())))
            < (int(row["seeds"]), row["on"])
        }
    anew = {family: seeds for family, seeds in cells.items() if family not in stay}
    found = {family: _line(split, family, seeds) for family, seeds in anew.items()}
    found |= {family: list(row.values()) for family, row in stay.items()}
    minus: dict[str, dict[str, str]] = {}
    if before is not None:
        # A difference stays with its family's row, while the other's figure is what it was.
        same = {
            other
            for other, row in before.rows.items()
            if found.get(other, [])[:2] == list(row.values())[:2]
        }
        minus = {
            family: {
                other: told for other, told in before.differences[family].items() if other in same
            }
            for family in stay
            if family in before.differences
        }
    rows = {family: found[family] for family in families if family in found}
    lines = [f"### {split.title}", "", f"`{name}`, protocol *{split.protocol}*", ""]
    if rows:
        lines += [_row(head), _row(["---"] * len(head))]
        best = sorted(rows, key=lambda family: float(rows[family][1].split()[0]))
        for family in best if split.protocol == "rating" else reversed(best):
            lines.append(_row(rows[family]))
        minus |= _differences(split, anew)
        lines += _compared(split, {family: minus.get(family, {}) for family in rows})
    if missing := [family for family in families if family not in rows]:
        lines += ["", f"Not measured yet: {', '.join(missing)}."]
    return "\n".join(lines)


def _line(split: Split, model: str, seeds: Sequence[dict[str, Any]]) -> list[str]:
    first = seeds[0]["result"]
    columns = [f"`{model}`"]
    for metric in split.metrics:
        low, high = (
            np.mean([each["result"]["intervals"][metric][end] for each in seeds]) for end in (0, 1)
        )
        columns.append(f"{_mean(seeds, metric):.4f} [{low:.4f}, {high:.4f}]")
    memory = first["peak_memory_mb"]
    columns += [
        str(len(seeds)),
        _settings(seeds[0]["preset"]),
        _seconds(seeds),
        f"{np.mean([each['result']['score_seconds'] for each in seeds]):.1f}",
        "" if memory is None else f"{memory:.0f}",
        f"{first['threads']} of {seeds[0]['cores']}",
        _date(seeds),
    ]
    return columns


def _seconds(seeds: Sequence[dict[str, Any]]) -> str:
    total = np.mean([each["result"]["fit_seconds"] for each in seeds])
    counts = [each["result"]["counts"] for each in seeds]
    if "selection_seconds" not in counts[0]:
        return f"{total:.1f}"
    selection = np.mean([each["selection_seconds"] for each in counts])
    return f"{selection:.0f} + {total - selection:.0f}"


def _date(seeds: Sequence[dict[str, Any]]) -> str:
    return max((each["date"] for each in seeds), default="")


def _settings(preset: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in preset.items()) or "defaults"


def _differences(
    split: Split, cells: Mapping[str, Sequence[dict[str, Any]]]
) -> dict[str, dict[str, str]]:
    """Return each family's paired differences from those that it is to be compared with."""
    metric = split.metrics[0]
    found: dict[str, dict[str, str]] = {}
    for model in cells if set(split.against) & set(cells) else ():
        ours = _per_user(cells[model], metric)
        for other in (each for each in split.against if each in cells and each != model):
            theirs = _per_user(cells[other], metric)
            users = sorted(ours.keys() & theirs.keys())
            minus = np.array([[ours[u] - theirs[u]] for u in users])
            estimate = mean_interval(minus, Bootstrap())[0]
            shown = f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"
            found.setdefault(model, {})[other] = shown
    return found


def _compared(split: Split, minus: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the table of differences, from the families that are there."""
    against = [other for other in split.against if other in minus]
    if not against or len(minus) < 2:
        return []
    lines = ["", f"Paired difference of {split.metrics[0]}, user by user, mean of the seeds:", ""]
    lines += [_row(["family", *(f"minus `{other}`" for other in against)])]
    lines += [_row(["---"] * (len(against) + 1))]
    for family, of in minus.items():
        lines.append(_row([f"`{family}`", *(of.get(other, "") for other in against)]))
    return lines


def _per_user(seeds: Sequence[dict[str, Any]], metric: str) -> dict[Any, float]:
    found: dict[Any, list[float]] = {}
    for each in seeds:
        table = pq.read_table(each["per_user"], columns=["user_id", metric]).to_pydict()
        for user, value in zip(table["user_id"], table[metric], strict=True):
            found.setdefault(user, []).append(value)
    return {user: float(np.mean(values)) for user, values in found.items()}


def _mean(seeds: Sequence[dict[str, Any]], metric: str) -> float:
    return float(np.mean([each["result"]["metrics"][metric] for each in seeds]))


def _row(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"
