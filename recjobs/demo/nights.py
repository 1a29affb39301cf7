"""The demo's nights, one after the other, and what came out of them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from recjobs import console, migrate, pipeline, show, standalone
from recjobs.config import Settings, load_settings
from recjobs.demo import movielens, server
from recjobs.demo.airflow import home_in, serve
from recjobs.errors import GateError
from recjobs.files import make_folder
from recjobs.instants import parse_as_of
from recjobs.runs import FINISHED, Run, RunStore, run_folder

NIGHTS = ("2016-10-15", "2016-10-16", "2016-10-17")
USER = 42

_QUERIES = (
    "select rank, title, score, source, because_item_id\n"
    "  from recs.recommendations join recs.item using (item_id) where user_id = 42 order by rank;",
    "select item_id, rank, score from recs.recommend(999999, 5);  -- a user nobody has seen",
    "select model, metric, value, low, high from recs.metric\n"
    "  where run_id = (select run_id from recs.live) and segment = 'all' order by metric, model;",
)


def run(folder: Path, *, airflow: bool = False) -> int:
    """Run the demo in a folder and show what came out; with ``airflow``, serve it there."""
    make_folder(folder, "--folder")
    dsn = os.environ.get("RECJOBS_DSN") or server.start(folder)
    movielens.load(dsn)
    config = folder / "jobs" / "movielens.toml"
    config.parent.mkdir(exist_ok=True)
    template = Path(__file__).with_name("movielens.toml").read_text(encoding="utf-8")
    config.write_text(template.format(connection=_connection(dsn)), encoding="utf-8")
    settings = load_settings(config)
    migrate.migrate(settings)
    if airflow:
        ours = not os.environ.get("RECJOBS_DSN")
        metadata = dsn.replace("/recjobs_demo?", f"/{server.AIRFLOW_DATABASE}?") if ours else None
        return serve(folder, config.parent, metadata)
    for night in NIGHTS:
        last = _run_night(settings, night)
    _show(settings, last, config, dsn)
    return 0


def stop(folder: Path) -> int:
    """Stop the servers that the demo started in this folder."""
    stopped = {"Airflow": standalone.halt(home_in(folder)), "Postgres": server.stop(folder)}
    what = [name for name, was in stopped.items() if was]
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
    console.out.print(show.render(show.of(settings, str(USER))))
    console.out.print("\nAsk the tables yourself:\n", style="bold")
    # A DSN of the user's own may hold a password.
    shown = '"$RECJOBS_DSN"' if os.environ.get("RECJOBS_DSN") else shlex.quote(dsn)
    console.out.print(f"  {shlex.quote(str(server.psql()))} {shown}\n", markup=False)
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
