"""What each command does: one function per command, called by `cli` with its arguments."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from recjobs import console, pipeline
from recjobs.config import Settings, load_settings, parse_value
from recjobs.errors import ConfigError, DataError, GateError, RecJobsError
from recjobs.instants import nights, parse_as_of
from recjobs.night import kept_parts
from recjobs.runs import FINISHED, Run, RunStore, run_folder
from recjobs.shards import Shard


def init(args: argparse.Namespace) -> int:
    """Propose a settings file."""
    from recjobs.init import propose

    dsn = args.dsn or os.environ.get(args.dsn_env)
    if not dsn:
        raise ConfigError(f"give --dsn, or set the environment variable {args.dsn_env}")
    text = propose(dsn, dsn_env=args.dsn_env, schema=args.schema)
    if args.json:
        console.print_json({"toml": text})
    elif args.output:
        try:
            with Path(args.output).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ConfigError(
                f"{args.output} is there already: move it away, or name another file"
            ) from error
        except OSError as error:
            raise ConfigError(f"--output: {args.output} can't be written: {error}") from error
        console.err.print(f"wrote {args.output}; next: recjobs doctor --config {args.output}")
    else:
        print(text, end="")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """Check the set-up; 2 where something would fail a night."""
    from recjobs.doctor import examine

    findings = examine(load_settings(args.config))
    if args.json:
        console.print_json([asdict(finding) for finding in findings])
    else:
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}
        for finding in findings:
            console.out.print(marks[finding.status], end=" ")
            console.out.print(f"{finding.name}: {finding.message}", markup=False)
            if finding.mend:
                console.out.print(f"    → {finding.mend}", markup=False)
    failed = any(finding.status == "fail" for finding in findings)
    return ConfigError.exit_code if failed else 0


def migrate(args: argparse.Namespace) -> int:
    """Create or update the job's tables."""
    from recjobs import migrate as migrations

    settings = load_settings(args.config)
    if args.print_sql:
        script = migrations.script(settings, roles=not args.no_roles)
        if args.json:
            console.print_json({"schema": settings.job.db_schema, "sql": script})
        else:
            print(script, end="")
        return 0
    applied = migrations.migrate(settings, roles=not args.no_roles)
    if args.json:
        console.print_json({"schema": settings.job.db_schema, "applied": applied})
    else:
        what = ", ".join(applied) if applied else "nothing to do"
        console.out.print(f"schema {settings.job.db_schema}: {what}", markup=False)
    return 0


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


def status(args: argparse.Namespace) -> int:
    """Show what is live and the newest runs."""
    store = RunStore.of(load_settings(args.config))
    live, pin, runs = store.live(), store.pin(), store.latest(args.limit)
    publications = store.publications(args.limit)
    if args.json:
        console.print_json(
            {
                "live": asdict(live) if live else None,
                "pinned": pin,
                "runs": [asdict(run) for run in runs],
                "publications": publications,
            }
        )
        return 0
    if live is None:
        console.out.print("Nothing is live yet.")
    else:
        since = publications[0]["live_from"] if publications else "?"
        console.out.print(f"Live: run {live.run_id}, as of {live.key.as_of:%Y-%m-%d %H:%M} UTC, "
                          f"since {since:%Y-%m-%d %H:%M}.")  # fmt: skip
    if pin:
        console.out.print(f"Pinned by {pin['by']} ({pin['why'] or 'no reason given'}): no run goes "
                          "live until: recjobs rollback --unpin", markup=False)  # fmt: skip
    console.out.print(console.runs_table(runs, live))
    return 0


def rollback(args: argparse.Namespace) -> int:
    """Move the live pointer back."""
    from recjobs import publish

    settings = load_settings(args.config)
    dsn = settings.target.resolve()
    if args.unpin:
        publish.unpin(dsn, settings)
    else:
        publish.rollback(dsn, settings, pin=args.pin, by=_who(), why=args.why)
    store = RunStore.of(settings)
    live, pin = store.live(), store.pin()
    if args.json:
        console.print_json({"live": asdict(live) if live else None, "pinned": pin})
    else:
        pinned = "; pinned until: recjobs rollback --unpin" if pin else ""
        console.out.print(f"live: run {live.run_id if live else 'none'}{pinned}")
    return 0


def promote(args: argparse.Namespace) -> int:
    """Make a run live by name."""
    from recjobs.promote import promote

    settings = load_settings(args.config)
    run = promote(settings, args.run, why=args.why, by=_who(), watch=console.stage_bar)
    if args.json:
        console.print_json(asdict(run))
    else:
        console.out.print(f"live: run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M} UTC")
    return 0


def show(args: argparse.Namespace) -> int:
    """Show one user's list."""
    from recjobs import show as view

    user = view.of(load_settings(args.config), args.user, args.n)
    if args.json:
        console.print_json(view.as_dict(user))
    else:
        console.out.print(view.render(user))
    return 0


def parts(args: argparse.Namespace) -> int:
    """Show, or lessen, what extract keeps between nights."""
    from recjobs.source.erase import erase
    from recjobs.source.parts import day_name

    settings = load_settings(args.config)
    days = kept_parts(settings)
    erased = erase(days, args.erase) if args.erase else None
    if args.drop:
        days.drop()
    found: dict[str, Any] = {"folder": days.url, "days": 0, "interactions": 0}
    if kept := days.kept():
        known = {"days": len(kept.days), "interactions": kept.rows, "nights": kept.nights}
        found |= known | {"until": day_name(kept.until)}
    if args.json:
        console.print_json(found | {"erased": erased})
        return 0
    if erased:
        console.out.print(
            f"removed {erased['rows']:,} interactions from {erased['days']:,} days. Not touched: "
            f"the source, the files of runs in {settings.artifacts.root}, models, published lists.",
            markup=False,
        )
    if kept:
        console.out.print(
            f"{found['interactions']:,} interactions before {found['until']} are kept in "
            f"{found['days']:,} days; everything was last read {kept.nights} nights before the "
            f"newest. In {days.url}",
            markup=False,
        )
    else:
        console.out.print("No day is kept.")
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measure a model on files."""
    from recjobs.bench import Request, quality
    from recjobs.threads import cores

    request = Request(
        train=Path(args.train),
        test=Path(args.test),
        negatives=Path(args.negatives) if args.negatives else None,
        items=Path(args.items) if args.items else None,
        model=args.model,
        settings=_overrides(args.set),
        protocol=args.protocol,
        candidates=args.candidates,
        k=_cutoffs(args.k),
        seed=args.seed,
        threads=cores() if args.threads is None else args.threads,
        per_user=Path(args.per_user) if args.per_user else None,
    )
    console.print_json(quality(request, console.stage_bar))
    return 0


def tune(args: argparse.Namespace) -> int:
    """Try hyperparameters on folds before the holdout."""
    from recjobs import tune as tuning

    settings = load_settings(args.config)
    if args.model and args.model != settings.model.name:
        settings = settings.with_overrides({"model.name": args.model, "model.params": {}})
    root = args.folder or f"{settings.artifacts.root}/tune"
    if "://" in root:
        raise ConfigError(f"tune: trials are stored in a local folder; give --folder, not {root}")
    if args.output and not tuning.may_write(Path(args.output)):
        raise ConfigError(f"{args.output} is there already, and not from tune: name another file")
    as_of = parse_as_of(args.as_of, settings.job.timezone) if args.as_of else None
    data = tuning.snapshot(settings, as_of=as_of, run_id=args.run, watch=console.stage_bar)
    found = tuning.tune(
        settings,
        data,
        metric=args.metric or settings.gate.metric,
        n_folds=args.folds,
        budget=tuning.Budget(args.trials, args.minutes),
        folder=Path(root),
        tell=lambda line: console.err.print(line, markup=False),
    )
    if args.output:
        Path(args.output).write_text(found.fragment, encoding="utf-8")
    if args.json:
        console.print_json({"run_id": data.run.run_id, **asdict(found)})
    else:
        console.err.print(f"trials: {found.journal}; the same command goes on", markup=False)
        print(found.fragment, end="")
    return 0


def demo(args: argparse.Namespace) -> int:
    """Run, serve or stop the demo."""
    from recjobs import demo as demonstration

    folder = Path(args.folder).resolve()
    if args.stop:
        return demonstration.stop(folder)
    return demonstration.run(folder, airflow=args.airflow)


def _nights(args: argparse.Namespace, settings: Settings, days: Sequence[datetime]) -> int:
    """Run nights in order; return the exit code of the worst."""
    overrides = _overrides(args.set)
    results: list[dict[str, Any]] = []
    code = 0
    for as_of in days:
        try:
            error, result = _one_night(args, settings, as_of, overrides)
        except RecJobsError as failed:  # no later night would fare better
            if not args.json:
                raise
            error, result = failed, {"as_of": as_of, "failure": _failure(failed)}
        results.append(result)
        code = max(code, error.exit_code if error else 0)
        if error and not isinstance(error, (DataError, GateError)):
            break
    if args.json:
        console.print_json(results[0] if args.command == "run" else results)
    return code


def _one_night(
    args: argparse.Namespace, settings: Settings, as_of: datetime, overrides: Mapping[str, Any]
) -> tuple[RecJobsError | None, dict[str, Any]]:
    """Run a night, and return what held it and its run; other errors are raised."""
    error: RecJobsError | None = None
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
    except (DataError, GateError) as held:
        error = held
    store = RunStore.of(settings)
    ended = store.get(opened.run_id)
    if not args.json:
        _print_night(ended, store.live())
        if error:
            console.err.print(_failure(error), markup=False)
    failure = _failure(error) if error else None
    return error, {**asdict(ended), "report": str(console.report_path(ended)), "failure": failure}


def _failure(error: RecJobsError) -> str:
    return f"{type(error).__name__}: {error}"


def _opening(run: Run) -> str:
    name = f"run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M} UTC"
    if run.status in FINISHED:
        return f"{name}: finished before, returned as it is (--fresh extracts again)"
    return f"{name}: {'resumed' if run.timings else 'started'}, model {run.model}"


def _print_night(run: Run, live: Run | None) -> None:
    folder = run_folder(run)
    if folder.finished("evaluate"):
        console.out.print(console.metrics_table(folder))
    if run.rule:
        console.out.print(f"Gate: {run.decision}. {run.rule}", markup=False)
    is_live = live is not None and live.run_id == run.run_id
    state = "live" if is_live else run.status
    console.out.print(f"Run {run.run_id}, as of {run.key.as_of:%Y-%m-%d %H:%M} UTC: {state}.")
    if run.status == "stored" and not is_live:
        why = run.why_not_live or "it was live before"
        console.out.print(f"It is stored, not live: {why}", markup=False)
    console.out.print(console.timings_line(run), markup=False)
    console.out.print(f"Report: {console.report_path(run)}", markup=False)


def _overrides(pairs: Sequence[str]) -> dict[str, Any]:
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ConfigError(
                f"--set: expected KEY=VALUE, as in model.name=ease. Received: {pair!r}"
            )
        overrides[key] = parse_value(value)
    return overrides


def _cutoffs(text: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise ConfigError(f"--k: expected cutoffs, as in 10,20. Received: {text!r}") from error


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}" if sys.platform != "win32" else "unknown"
