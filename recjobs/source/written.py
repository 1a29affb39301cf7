"""The interactions as one Parquet file: the kept days first, then what was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recjobs.columns import ITEM_ID, USER_ID
from recjobs.files import log_format
from recjobs.source.log import GROUP_ROWS, Log
from recjobs.threads import ahead


@dataclass(slots=True)
class Written:
    """What lies in the file.

    Attributes:
        rows: How many.
        users: The distinct users, in no order, some more than once.
        items: The distinct items, likewise.
    """

    rows: int = 0
    users: list[pa.Array] = field(default_factory=list)
    items: list[pa.Array] = field(default_factory=list)


def write(path: Path, kept: Iterable[pa.Table], log: Log, schema: pa.Schema) -> Written:
    """Write the file; of the kept days a row group is held, and those that are read ahead.

    Args:
        path: The file.
        kept: Interactions before all of the log's, in order.
        log: The others.
        schema: `columns.INTERACTION_COLUMNS` in their types.
    """
    written = Written(0, [log.user.values], [log.item.values])

    def both() -> Iterator[pa.Table]:
        for table in kept:
            written.users.append(pc.unique(table[USER_ID]))
            written.items.append(pc.unique(table[ITEM_ID]))
            yield table
        yield from log.groups(schema)

    with pq.ParquetWriter(path, schema, **log_format(schema)) as writer:
        for group in ahead(_groups(both())):
            writer.write_table(group, row_group_size=GROUP_ROWS)
            written.rows += len(group)
    return written


def _groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows again, a row group at a time, each column in one chunk.

    The bytes of a file depend on how its rows come in groups and chunks.
    """
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += len(table)
        if rows >= GROUP_ROWS:
            whole = pa.concat_tables(waiting)
            for start in range(0, rows - GROUP_ROWS + 1, GROUP_ROWS):
                yield whole.slice(start, GROUP_ROWS).combine_chunks()
            rows %= GROUP_ROWS
            waiting = [whole.slice(len(whole) - rows)]
    if rows:
        yield pa.concat_tables(waiting).combine_chunks()
