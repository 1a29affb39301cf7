"""Setting up a job: its settings, their check, its tables; and the demo, which needs none."""

from __future__ import annotations

import argparse
import os
from dataclasses import asdict
from pathlib import Path

from recjobs import console
from recjobs.config import load_settings
from recjobs.errors import ConfigError


def init(args: argparse.Namespace) -> int:
    """Propose a settings file."""
    from recjobs.init import propose

    dsn = args.dsn or os.environ.get(args.dsn_env)
    if not dsn:
        raise ConfigError(f"give --dsn, or set the environment variable {args.dsn_env}")
    text = propose(dsn, dsn_env=args.dsn_env, schema=args.schema)
    if args.output:
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
    if args.json:
        console.print_json({"toml": text})
    elif not args.output:
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


def demo(args: argparse.Namespace) -> int:
    """Run, serve or stop the demo."""
    from recjobs import demo as demonstration

    folder = Path(args.folder).resolve()
    if args.stop:
        return demonstration.stop(folder)
    return demonstration.run(folder, airflow=args.airflow)
