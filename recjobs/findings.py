"""What a run's stages found, in the tables that people read: metrics, checks, rows set aside.

Each function replaces what an earlier attempt of the same run recorded: a resumed stage says it
again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg2 import sql

from recjobs import db
from recjobs.columns import REASON
from recjobs.copy_binary import copy_in
from recjobs.expectations import Outcome

#: Rows set aside that are kept in the database, per run and reason; Parquet has all of them.
MAX_REJECTED: Final = 1000

_METRICS: Final = {
    "model": "text",
    "segment": "text",
    "metric": "text",
    "value": "double precision",
    "low": "double precision",
    "high": "double precision",
    "users": "bigint",
}
_REJECTED: Final = dict.fromkeys((REASON, "user_id", "item_id", "ts", "rating", "event"), "text")


def record_outcomes(
    connection: db.PgConnection, schema: str, run_id: int, outcomes: Sequence[Outcome]
) -> None:
    """Record one row of ``check_result`` for each expectation."""
    statement = db.query("runs/record_outcome", schema=schema)
    for outcome in outcomes:
        db.execute(connection, statement, {"run_id": run_id, **asdict(outcome)})


def record_metrics(connection: db.PgConnection, schema: str, run_id: int, metrics: Path) -> None:
    """Record the rows of ``metrics.parquet``."""
    batches = pq.read_table(metrics, columns=list(_METRICS)).to_batches()
    _replace(connection, (schema, "metric"), run_id, _METRICS, batches)


def record_rejected(connection: db.PgConnection, schema: str, run_id: int, rejected: Path) -> None:
    """Record the first `MAX_REJECTED` rows of each reason."""
    batches = _first_per_reason(rejected)
    _replace(connection, (schema, "rejected_row"), run_id, _REJECTED, batches)


def _replace(
    connection: db.PgConnection,
    table: tuple[str, str],
    run_id: int,
    columns: Mapping[str, str],
    batches: Iterable[pa.RecordBatch],
) -> None:
    db.execute(connection, db.query("publish/forget", table=table), {"run_id": run_id})
    named = (batch.add_column(0, "run_id", pa.array([run_id] * len(batch))) for batch in batches)
    copy_in(connection, sql.Identifier(*table), {"run_id": "bigint", **columns}, named)


def _first_per_reason(rejected: Path) -> Iterator[pa.RecordBatch]:
    taken: dict[str, int] = {}
    with pq.ParquetFile(rejected) as file:
        for batch in file.iter_batches(columns=list(_REJECTED)):
            for reason in pc.unique(batch.column(REASON)).to_pylist():
                left = MAX_REJECTED - taken.get(reason, 0)
                rows = batch.filter(pc.equal(batch.column(REASON), reason)).slice(0, left)
                taken[reason] = taken.get(reason, 0) + len(rows)
                yield rows
