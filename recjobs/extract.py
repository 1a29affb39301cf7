"""The stage `extract`: the source before ``as_of``, as three Parquet files.

The same rows give the same bytes, whatever the order in which the source holds them and whether or
not days that earlier nights have read are reused (`source.reuse`), and rows at
or after ``as_of`` change none: not in the interactions, and of items and users only those are kept
that were created before it or occur in the interactions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recjobs import db
from recjobs.artifacts import StageOutput
from recjobs.columns import (
    CREATED_AT,
    EVENT,
    FEATURE_COLUMNS,
    INTERACTION_COLUMNS,
    ITEM_COLUMNS,
    ITEM_ID,
    RATING,
    SEGMENT,
    TITLE,
    TS,
    USER_COLUMNS,
    USER_ID,
)
from recjobs.config import SourceSettings
from recjobs.errors import ConfigError, DataError
from recjobs.features import TYPES
from recjobs.files import file_sha256, write_json
from recjobs.index import arrow_type
from recjobs.progress import Progress, silent, within
from recjobs.source.log import Log
from recjobs.source.parts import DamagedPartError, Parts
from recjobs.source.queries import Queries, plan
from recjobs.source.read import read_tables
from recjobs.source.reuse import Reuse
from recjobs.source.side import known_before
from recjobs.source.wire import INSTANT
from recjobs.source.written import write

_logger = logging.getLogger(__name__)
_FILES: Final = ("interactions", "items", "users")
#: How items and users are written: fixed, so that the same rows give the same bytes.
_PARQUET: Final[Mapping[str, Any]] = {"compression": "zstd", "version": "2.6"}


def extract(
    source: SourceSettings,
    as_of: datetime,
    out: StageOutput,
    *,
    dsn: str,
    parts: Parts | None = None,
    fresh: bool = False,
    version: str = "",
    progress: Progress = silent,
) -> None:
    """Read the source on one snapshot and write it as Parquet.

    Leaves ``interactions.parquet`` (`columns.INTERACTION_COLUMNS`, ordered by them with the time
    first), ``items.parquet`` and ``users.parquet`` (ordered by id, their features behind the other
    columns, and the users' segment behind those; no rows where not configured), and, where days
    that earlier nights had read are reused, ``parts.json``: the SHA-256 of each by day. The bytes
    are the same whether or not days are reused.

    Args:
        source: Which tables and columns, and which nights read what.
        as_of: Aware; only interactions before it are read.
        out: Filled; the summary has rows, items, users, user_id_type, item_id_type, has_ratings,
            has_events, a digest of the three files and `reuse.Reuse.summary` as parts.
        dsn: The database.
        parts: Where days are kept between nights; needed where ``source.full_every`` is above 1.
        fresh: Read everything, whatever is kept.
        version: Of the software: what another one has kept is not reused.
        progress: Told how far it is.

    Raises:
        ConfigError: A table, a column or a right is missing, or a type does not fit.
        DataError: An item or user occurs twice in its table, one of these has no row, or no row
            of the users' counts though there are interactions.
        DatabaseError: The server can't be reached, was lost, or cancelled every attempt.
    """
    if as_of.tzinfo is None:
        raise ConfigError(f"as_of: expected an instant with a time zone. Received: {as_of!r}")
    with db.connect(dsn) as connection:
        queries = plan(connection, source, as_of)
    reuse = None
    try:
        if parts is not None and source.full_every > 1:
            origin = f"{queries.origin} {version} pyarrow {pa.__version__}"
            reuse = Reuse.of(parts, origin, as_of, source, fresh=fresh)
        elif parts is not None:
            parts.drop()  # nobody reads them any more
    except OSError as error:  # no night fails for what only saves it time
        _logger.warning("the kept days can't be used, the source is read in full: %s", error)
    while True:
        tables = _read(source, as_of, queries, reuse, dsn, within(progress, 0.0, 0.6))
        log = Log.of(tables.pop("interactions"))
        progress(0.75, f"{len(log):,} interactions ordered")
        columns = _schema(INTERACTION_COLUMNS, queries)
        kept = reuse.tables() if reuse else ()
        try:
            written = write(out.folder / "interactions.parquet", kept, log, columns)
            break
        except DamagedPartError as error:
            if reuse is None:
                raise
            reuse.start_over(str(error))
    for name in ("items", "users"):
        if name in tables and not tables[name].num_rows:
            raise DataError(
                f"source.{name}: expected a row for each {name[:-1]}. Received: none. Is the table "
                "filled?"
            )
    schema = _schema(ITEM_COLUMNS + FEATURE_COLUMNS, queries)
    items = known_before(as_of, tables.get("items"), ITEM_ID, written.items, schema, source.items)
    schema = _schema((*USER_COLUMNS, *FEATURE_COLUMNS, SEGMENT), queries)
    users = known_before(as_of, tables.get("users"), USER_ID, written.users, schema, source.users)
    # Without interactions there is nobody to find there: `validate` tells of those.
    if "users" in tables and not users.num_rows and written.rows:
        created = f"was created before {as_of} or " if source.users.created_at else ""
        raise DataError(
            f"source.users: none of its {tables['users'].num_rows:,} rows {created}is a user of "
            "the interactions, so nobody would get a list. Does source.users.user_id hold their "
            "ids?"
        )
    pq.write_table(items, out.folder / "items.parquet", **_PARQUET)
    pq.write_table(users, out.folder / "users.parquet", **_PARQUET)
    if reuse:  # last, for a night that fails must not keep what it then tells nobody had changed
        reuse.keep(log, columns)
    out.summary = {
        "rows": written.rows,
        "items": items.num_rows,
        "users": users.num_rows,
        "user_id_type": queries.user_id_type,
        "item_id_type": queries.item_id_type,
        "has_ratings": bool(source.rating),
        "has_events": bool(source.event),
        "digest": _digest(out.folder),
        "parts": reuse.summary() if reuse else None,
    }
    if reuse and reuse.days:
        write_json(out.folder / "parts.json", reuse.used())
    progress(1.0, f"{written.rows:,} interactions{reuse.note() if reuse else ''}")


def _read(
    source: SourceSettings,
    as_of: datetime,
    queries: Queries,
    reuse: Reuse | None,
    dsn: str,
    progress: Progress,
) -> dict[str, pa.Table]:
    """Read what the kept days lack, or all where the source has other rows than they have."""
    while reuse and reuse.since:
        with db.connect(dsn) as connection:
            rest = plan(connection, source, as_of, reuse.since)
        tables = read_tables(dsn, _texts(rest), rest.expected_rows, progress)
        there = tables.pop("kept")["kept"][0].as_py()
        if there == reuse.rows:
            return tables
        reuse.give_up(
            f"the source has {there:,} interactions before {reuse.since:%Y-%m-%d}, "
            f"{reuse.rows:,} are kept"
        )
    return read_tables(dsn, _texts(queries), queries.expected_rows, progress)


def _texts(queries: Queries) -> dict[str, tuple[str, ...]]:
    single = {name: getattr(queries, name) for name in ("kept", "items", "users")}
    texts = {name: (text,) for name, text in single.items() if text}
    return {"interactions": queries.halves, **texts}


def _schema(columns: tuple[str, ...], queries: Queries) -> pa.Schema:
    types = {
        USER_ID: arrow_type(queries.user_id_type),
        ITEM_ID: arrow_type(queries.item_id_type),
        TS: INSTANT,
        CREATED_AT: INSTANT,
        RATING: pa.float32(),
        EVENT: pa.string(),
        TITLE: pa.string(),
        SEGMENT: pa.string(),
        **TYPES,
    }
    return pa.schema([(name, types.get(name, pa.bool_())) for name in columns])


def _digest(folder: Path) -> str:
    sums = "".join(file_sha256(folder / f"{name}.parquet") for name in _FILES)
    return hashlib.sha256(sums.encode()).hexdigest()
