"""What can be said to look at one user's list, and at what extract keeps between nights."""

from __future__ import annotations

import argparse

from recjobs.cli.command import Command, positive


def _show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", help="a user's id, as the source spells it")
    parser.add_argument(
        "-n", type=positive, help="how many items (default: as many as readers get)"
    )


def _parts(parser: argparse.ArgumentParser) -> None:
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--erase", nargs="+", metavar="USER", help="remove users from every day")
    less.add_argument("--drop", action="store_true", help="remove every day")


COMMANDS = (
    Command(
        "show",
        "show one user's list, with reasons",
        "  recjobs show 42\n  recjobs show 42 -n 5 --json",
        _show,
    ),
    Command(
        "parts",
        "show the days that extract keeps between nights, or erase users from them",
        "What source.full_every keeps: a Parquet file for each day of the source. --erase removes "
        "users\nfrom all of them, for whom the source has forgotten; the source itself, the files "
        "of runs, models\nand published lists it does not touch. --drop removes everything: the "
        "next night reads in full.\n\n"
        "  recjobs parts\n"
        "  recjobs parts --erase 42 4711",
        _parts,
    ),
)
