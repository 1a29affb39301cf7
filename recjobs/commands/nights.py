"""Running nights: one, a range of them, or a single stage."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from recjobs import console, pipeline
from recjobs.commands.words import overrides_of
from recjobs.config import Settings, load_settings
from recjobs.errors import ConfigError, DataError, GateError, RecJobsError
from recjobs.instants import nights, parse_as_of
from recjobs.runs import FINISHED, Run, RunStore, run_folder
from recjobs.shards import Shard


def run(args: argparse.Namespace) -> int:
    """Run one night."""
    settings = load_settings(args.config)
    zone = settings.job.timezone
    text = args.as_of or f"{datetime.now(ZoneInfo(zone)):%Y-%m-%d}"
    return _nights(args, settings, [parse_as_of(text, zone)])


def backfill(args: argparse.Namespace) -> int:
    """Run a range of nights; a held or poisoned one does not stop those after it."""
    settings = load_settings(args.config)
    since, until = (parse_as_of(t, settings.job.timezone) for t in (args.since, args.until))
    days = list(nights(since, until, settings.job.timezone))
    if not days:
        raise ConfigError(f"--until must be after --since. Received: {args.since} to {args.until}")
    return _nights(args, settings, days)


def stage(args: argparse.Namespace) -> int:
    """Run one stage."""
    settings = load_settings(args.config)
    shard = Shard.parse(args.shard) if args.shard else None
    name = f"{args.name} {shard}" if shard else args.name
    with console.stage_bar(name) as progress:
        state = pipeline.run_stage(settings, args.run, args.name, progress, shard)
    if args.json:
        shown = {"shard": str(shard)} if shard else {}
        console.print_json({"run_id": args.run, "stage": args.name, **shown, "state": state})
    else:
        console.out.print(f"run {args.run}, {name}: {state}", markup=False)
    run = RunStore.of(settings).get(args.run)
    if run.status == "held":
        console.err.print(f"run {args.run} is held: {run.rule}", markup=False)
        return GateError.exit_code
    return 0


def _nights(args: argparse.Namespace, settings: Settings, days: Sequence[datetime]) -> int:
    """Run nights in order; return the exit code of the worst."""
    overrides = overrides_of(args.set)
    results: list[dict[str, Any]] = []
    code = 0
    for as_of in days:
        try:
            error, result = _one_night(args, settings, as_of, overrides)
        except RecJobsError as failed:  # it opened no run
            if not args.json:
                raise
            error, result = failed, {"as_of": as_of, "failure": _failure(failed)}
        results.append(result)
        code = max(code, error.exit_code if isinstance(error, RecJobsError) else 0)
        if error and not isinstance(error, (DataError, GateError)):
            break  # no later night would fare better
    if args.json:
        console.print_json(results[0] if args.command == "run" else results)
    if error and not isinstance(error, RecJobsError):
        raise error
    return code


def _one_night(
    args: argparse.Namespace, settings: Settings, as_of: datetime, overrides: Mapping[str, Any]
) -> tuple[Exception | None, dict[str, Any]]:
    """Run a night, and return what it failed of and its run; what opens no run is raised."""
    error: Exception | None = None
    opened = pipeline.begin(
        settings,
        as_of,
        overrides=overrides,
        fresh=args.fresh,
        dry_run=args.dry_run,
        warm=args.warm,
    )
    console.err.print(_opening(opened), markup=False)
    try:
        pipeline.finish(settings, opened, watch=console.stage_bar)
    except Exception as failed:
        error = failed
    store = RunStore.of(settings)
    try:
        ended, live = store.get(opened.run_id), store.live()
    except RecJobsError:
        if error is None:
            raise
        ended, live = opened, None  # the database is what failed
    if not args.json:
        _print_night(ended, live)
        if isinstance(error, RecJobsError):
            console.err.print(_failure(error), markup=False)
    failure = _failure(error) if error else None
    return error, {**asdict(ended), "report": _report(ended), "failure": failure}


def _failure(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _report(run: Run) -> str | None:
    """Return where the run's page lies; None where none was made, or it is kept no longer."""
    made = run_folder(run).finished("report")
    return str(console.report_path(run)) if made else None


def _opening(run: Run) -> str:
    name = f"run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M} UTC"
    if run.status in FINISHED:
        return f"{name}: finished before, returned as it is (--fresh extracts again)"
    return f"{name}: {'resumed' if run.timings else 'started'}, model {run.model}"


def _print_night(run: Run, live: Run | None) -> None:
    folder = run_folder(run)
    with suppress(DataError):  # a damaged file: the night has said so
        if folder.finished("evaluate"):
            console.out.print(console.metrics_table(folder))
    if run.rule:
        console.out.print(f"Gate: {run.decision}. {run.rule}", markup=False)
    is_live = live is not None and live.run_id == run.run_id
    state = "live" if is_live else run.status
    console.out.print(f"Run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M} UTC: {state}.")
    if run.status == "stored" and not is_live:
        why = "it was live before" if run.ever_live else run.why_not_live
        console.out.print(f"It is stored, not live: {why}", markup=False)
    console.out.print(console.timings_line(run), markup=False)
    if report := _report(run):
        console.out.print(f"Report: {report}", markup=False)
