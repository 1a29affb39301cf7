"""What readers see: which run it is, the way back, and going live by name."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import asdict

from recjobs import console
from recjobs.config import load_settings
from recjobs.runs import RunStore


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
    abandoned = {run.run_id for run in runs if store.abandoned(run)}
    console.out.print(console.runs_table(runs, live, abandoned))
    return 0


def rollback(args: argparse.Namespace) -> int:
    """Move the live pointer back."""
    from recjobs import live
    from recjobs.pointer import Job

    settings = load_settings(args.config)
    job = Job.of(settings)
    if args.unpin:
        live.unpin(job)
    else:
        live.rollback(job, pin=args.pin, by=_who(), why=args.why)
    store = RunStore.of(settings)
    now, pin = store.live(), store.pin()
    if args.json:
        console.print_json({"live": asdict(now) if now else None, "pinned": pin})
    else:
        pinned = "; pinned until: recjobs rollback --unpin" if pin else ""
        console.out.print(f"live: run {now.run_id if now else 'none'}{pinned}")
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


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}" if sys.platform != "win32" else "unknown"
