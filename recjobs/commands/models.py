"""Measuring and tuning models, with nothing published."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from recjobs import console
from recjobs.commands.words import cutoffs, overrides_of
from recjobs.config import load_settings
from recjobs.errors import ConfigError
from recjobs.instants import parse_as_of


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
        settings=overrides_of(args.set),
        protocol=args.protocol,
        candidates=args.candidates,
        k=cutoffs(args.k),
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
    if args.output:
        tuning.check_output(Path(args.output))
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
    if args.json:
        console.print_json({"run_id": data.run.run_id, **asdict(found)})
    else:
        console.err.print(f"trials: {found.journal}; the same command goes on", markup=False)
        print(found.fragment, end="")
    if args.output:  # the last: what was found is told even if it can't be written any more
        Path(args.output).write_text(found.fragment, encoding="utf-8")
    return 0
