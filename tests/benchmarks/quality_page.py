"""The measured cells as the tables of ``docs/quality.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality_splits import SPLITS, Split
from recjobs.metrics import Bootstrap, paired_difference

START, END = "<!-- measured -->", "<!-- /measured -->"
Cells = Mapping[str, Mapping[str, Sequence[dict[str, Any]]]]


def write(page: Path, cells: Cells, missing: Mapping[str, Sequence[str]], presets: str) -> None:
    """Put the tables between the page's marks.

    Args:
        page: With both marks.
        cells: By split and family, the results of its seeds.
        missing: By split, the families that are in the registry and have not been measured.
        presets: The text of the presets.
    """
    parts = [_part(name, cells.get(name, {}), missing.get(name, ())) for name in SPLITS]
    shown = f"### Presets\n\n```toml\n{presets.strip()}\n```"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(START)[0], text.split(END)[1]
    body = "\n\n".join([*parts, shown])
    page.write_text(f"{before}{START}\n\n{body}\n\n{END}{after}", encoding="utf-8")


def _part(name: str, cells: Mapping[str, Sequence[dict[str, Any]]], missing: Sequence[str]) -> str:
    split = SPLITS[name]
    lines = [f"### {split.title}", "", f"`{name}`, protocol *{split.protocol}*", ""]
    if cells:
        head = ["family", *split.metrics, "seeds", "settings", "fit s", "score s", "MB", "threads"]
        lines += [_row([*head, "on"]), _row(["---"] * (len(head) + 1))]
        best = sorted(cells, key=lambda m: _mean(cells[m], split.metrics[0]))
        for model in best if split.protocol == "rating" else reversed(best):
            lines.append(_row(_line(split, model, cells[model])))
        lines += _differences(split, cells)
    if missing:
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
    given = ", ".join(f"{key} = {json.dumps(value)}" for key, value in seeds[0]["preset"].items())
    memory = first["peak_memory_mb"]
    columns += [
        str(len(seeds)),
        given or "defaults",
        _seconds(seeds),
        f"{np.mean([each['result']['score_seconds'] for each in seeds]):.1f}",
        "" if memory is None else f"{memory:.0f}",
        f"{first['threads']} of {seeds[0]['cores']}",
        max(each["date"] for each in seeds),
    ]
    return columns


def _seconds(seeds: Sequence[dict[str, Any]]) -> str:
    total = np.mean([each["result"]["fit_seconds"] for each in seeds])
    counts = [each["result"]["counts"] for each in seeds]
    if "selection_seconds" not in counts[0]:
        return f"{total:.1f}"
    selection = np.mean([each["selection_seconds"] for each in counts])
    return f"{selection:.0f} + {total - selection:.0f}"


def _differences(split: Split, cells: Mapping[str, Sequence[dict[str, Any]]]) -> list[str]:
    """Return each family's paired difference from those that it is to be compared with."""
    against = [other for other in split.against if other in cells]
    if not against or len(cells) < 2:
        return []
    metric = split.metrics[0]
    lines = ["", f"Paired difference of {metric}, user by user, mean of the seeds:", ""]
    lines += [_row(["family", *(f"minus `{other}`" for other in against)])]
    lines += [_row(["---"] * (len(against) + 1))]
    for model in cells:
        shown = [f"`{model}`"]
        for other in against:
            ours, theirs = (_per_user(cells[each], metric) for each in (model, other))
            users = sorted(ours.keys() & theirs.keys())
            pairs = [np.array([[side[u]] for u in users]) for side in (ours, theirs)]
            found = paired_difference(*pairs, Bootstrap())[0]
            same = (
                ""
                if model == other
                else f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
            )
            shown.append(same)
        lines.append(_row(shown))
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
