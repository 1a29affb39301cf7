"""Looking at one user's list, and at what extract keeps between nights."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from recjobs import console
from recjobs.config import load_settings
from recjobs.night import kept_parts


def show(args: argparse.Namespace) -> int:
    """Show one user's list."""
    from recjobs import show as view

    user = view.of(load_settings(args.config), args.user, args.n)
    if args.json:
        console.print_json(asdict(user))
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
