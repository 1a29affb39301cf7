"""What can be said to run nights: run, backfill, and one stage alone."""

from __future__ import annotations

import argparse

from recjobs.cli.command import Command, positive


def _nights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", action="store_true", help="extract again, as a new run")
    parser.add_argument("--dry-run", action="store_true", help="stop after check")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting; such a run needs `promote` to go live",
    )


def _run(parser: argparse.ArgumentParser) -> None:
    _nights(parser)
    parser.add_argument("--as-of", help="a date or a time (default: today, 00:00)")
    parser.set_defaults(warm=True)


def _backfill(parser: argparse.ArgumentParser) -> None:
    _nights(parser)
    parser.add_argument("--since", required=True, help="the first as_of")
    parser.add_argument("--until", required=True, help="the end, not included")
    parser.add_argument(
        "--warm",
        action="store_true",
        help="start models from the weights of the night before, as [train] says; else from none",
    )


def _stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="extract, validate, index, train, …")
    parser.add_argument("--run", type=positive, required=True, help="the run's id")
    parser.add_argument("--shard", metavar="K/N", help="this share of N, from 1/N to N/N")


COMMANDS = (
    Command(
        "run",
        "run one night",
        "Runs every stage for one as_of and publishes the lists, or holds them. A run of the same "
        "key\nresumes where it stopped; one that is finished is returned.\n\n"
        "  recjobs run --as-of 2016-10-17\n"
        "  recjobs run --as-of 2016-10-17 --fresh             # extract again: late rows enter\n"
        "  recjobs run --set model.name=ease --dry-run        # nothing is published",
        _run,
    ),
    Command(
        "backfill",
        "run a range of nights",
        "Runs a night for each day, as_of in [since, until), oldest first. A night older than the "
        "newest\nlive one is stored and can be queried; it does not go live.\n\n"
        "  recjobs backfill --since 2016-10-10 --until 2016-10-17\n\n"
        "The same in Airflow (its dates are the starts of the nights' data intervals):\n"
        "  airflow backfill create --dag-id recjobs_shop --from-date 2016-10-09 \\\n"
        "      --to-date 2016-10-15T23:59:59",
        _backfill,
    ),
    Command(
        "stage",
        "run one stage of a run",
        "Runs one stage alone, with what the stages before it left. A stage that has finished is "
        "not run again.\n\n"
        "  recjobs stage score --run 12\n\n"
        "The stages score and publish also in shards: each does a share of the users beside the "
        "others,\nin a process of its own, and can be repeated alone. The stage itself, run after "
        "them, does what\nnone of them has done, and the rest. schedule.shards is their number; no "
        "list depends\non it.\n\n"
        "  recjobs stage score --run 12 --shard 1/2 & recjobs stage score --run 12 --shard 2/2\n"
        "  wait; recjobs stage score --run 12",
        _stage,
    ),
)
