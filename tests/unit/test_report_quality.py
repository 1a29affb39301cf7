"""What the report says of quality, from the rows that the evaluation leaves."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recjobs.evaluate.table import SCHEMA, row
from recjobs.files import write_json
from recjobs.metrics import Interval
from recjobs.report.quality import read_quality


@pytest.mark.parametrize(
    ("popular", "told"),
    [
        (Interval(0.4, 0.35, 0.45), ("0.4000 (0.3500 to 0.4500)", "0.2000 (0.1500 to 0.2500)")),
        (Interval(0.3, 0.24, 0.36), ()),  # the intervals touch
        (Interval(0.1, 0.05, 0.14), ()),
    ],
)
def test_popularity_that_is_surely_better_for_light_users_is_told(
    tmp_path: Path, popular: Interval, told: tuple[str, ...]
) -> None:
    found = {"ease": Interval(0.2, 0.15, 0.25), "popular": popular}
    rows = [row(name, "light", "ndcg@10", value, 30) for name, value in found.items()]
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "metrics.parquet")
    judged = {"challenger": "ease", "differences": [], "no_champion": None, "drawn_from": None}
    write_json(tmp_path / "differences.json", judged)
    paths = tmp_path / "metrics.parquet", tmp_path / "differences.json"
    assert read_quality(*paths, "ndcg@10").light == told
