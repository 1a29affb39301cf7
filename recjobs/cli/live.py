"""What can be said of what readers see: status, rollback, promote."""

from __future__ import annotations

import argparse

from recjobs.cli.command import Command, positive


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=positive, default=10, help="how many runs")


def _rollback(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--why", default="", help="kept in the table publication")
    pinning = parser.add_mutually_exclusive_group()
    pinning.add_argument("--pin", action="store_true", help="and stop later promotions")
    pinning.add_argument("--unpin", action="store_true", help="only let promotions happen again")


def _promote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=positive, help="the run's id")
    parser.add_argument("--why", required=True, help="kept in the table publication")


COMMANDS = (
    Command(
        "status",
        "show what is live and the newest runs",
        "  recjobs status\n  recjobs status --limit 30 --json | jq '.runs[].rule'",
        _status,
    ),
    Command(
        "rollback",
        "make the run before the live one live again",
        "One pointer moves; no list is written. A rolled-back run does not come back by itself.\n"
        "--pin also stops later runs from going live until --unpin.\n\n"
        "  recjobs rollback --why 'wrong prices in the feed' --pin\n"
        "  recjobs rollback --unpin",
        _rollback,
    ),
    Command(
        "promote",
        "make a held or stored run live",
        "A held run is finished first: refit, score, check, publish. A run whose lists are "
        "incomplete or\nhold seen items is refused, and so is one that stored popularity lists for "
        "a held model.\n\n"
        "  recjobs promote 12 --why 'checked by hand, the holdout was a holiday'",
        _promote,
    ),
)
