"""What can be said to set up a job: init, doctor, migrate; and the demo."""

from __future__ import annotations

import argparse

from recjobs.cli.command import Command


def _init(parser: argparse.ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--dsn", help="the database to look at; its password is not written down")
    where.add_argument("--dsn-env", default="RECJOBS_DSN", help="the variable that holds the DSN")
    parser.add_argument("--schema", help="look at this schema alone")
    parser.add_argument("--output", metavar="TOML", help="write here; an existing file is not lost")


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print-sql", action="store_true", help="print, change nothing")
    parser.add_argument("--no-roles", action="store_true", help="make no roles")


def _demo(parser: argparse.ArgumentParser) -> None:
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--stop", action="store_true", help="stop what the demo started")
    doing.add_argument("--airflow", action="store_true", help="run it under airflow standalone")
    parser.add_argument("--folder", default=".demo", help="where the demo lives")


COMMANDS = (
    Command(
        "init",
        "look at a database and propose a settings file",
        "Prints a commented recjobs.toml: which table holds the interactions, what its columns "
        "mean, which holdout suits the data, and why.\n\n"
        "  recjobs init --dsn postgresql://me@localhost/shop > recjobs.toml\n"
        "  recjobs init --dsn-env SHOP_DSN --schema app --output jobs/shop.toml",
        _init,
        config=False,
    ),
    Command(
        "doctor",
        "check the set-up and say how to mend it",
        "Checks connections, rights, pooling, columns, types, indexes, clocks, disk and "
        "migrations.\nExit code 2 where something would fail a night.\n\n"
        "  recjobs doctor --config jobs/shop.toml",
    ),
    Command(
        "migrate",
        "create or update the job's tables",
        "Safe to repeat. With --print-sql nothing is changed: the statements are printed for a "
        "DBA.\n--no-roles leaves out the roles, for a user without CREATEROLE.\n\n"
        "  recjobs migrate\n"
        "  recjobs migrate --print-sql | psql -d shop",
        _migrate,
    ),
)

DEMO = Command(
    "demo",
    "three nights on MovieLens in an embedded Postgres",
    "Starts a Postgres of its own under .demo (or uses RECJOBS_DSN), loads MovieLens, runs "
    "three\nnights and shows what came out.\n\n"
    "  recjobs demo\n  recjobs demo --airflow   # the same job under a real Airflow\n"
    "  recjobs demo --stop      # stop what the demo started",
    _demo,
    config=False,
    json=False,
)
