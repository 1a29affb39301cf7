"""The command line: what can be said. What is then done stands in `commands`.

Nothing slow is imported here, so that ``recjobs --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from recjobs import __version__
from recjobs.errors import ConfigError, RecJobsError

_EPILOG = """\
exit codes
  0  done                        4  the gate held the model; what was live stays live
  1  a defect of recjobs         5  the database failed: run it again, it resumes
  2  settings or arguments       6  another run of this job is at work: wait for it
  3  bad input: nothing changed

a first night
  recjobs init --dsn postgresql://me@localhost/shop > recjobs.toml
  recjobs doctor && recjobs migrate && recjobs run --as-of 2016-10-17
"""

#: name, one line, and what ``--help`` teaches beyond it
_COMMANDS: tuple[tuple[str, str, str], ...] = (
    (
        "init",
        "look at a database and propose a settings file",
        "Prints a commented recjobs.toml: which table holds the interactions, what its columns "
        "mean, which holdout suits the data, and why.\n\n"
        "  recjobs init --dsn postgresql://me@localhost/shop > recjobs.toml\n"
        "  recjobs init --dsn-env SHOP_DSN --schema app --output jobs/shop.toml",
    ),
    (
        "doctor",
        "check the set-up and say how to mend it",
        "Checks connections, rights, pooling, columns, types, indexes, clocks, disk and "
        "migrations.\nExit code 2 where something would fail a night.\n\n"
        "  recjobs doctor --config jobs/shop.toml",
    ),
    (
        "migrate",
        "create or update the job's tables",
        "Safe to repeat. With --print-sql nothing is changed: the statements are printed for a "
        "DBA.\n--no-roles leaves out the roles, for a user without CREATEROLE.\n\n"
        "  recjobs migrate\n"
        "  recjobs migrate --print-sql | psql -d shop",
    ),
    (
        "run",
        "run one night",
        "Runs every stage for one as_of and publishes the lists, or holds them. A run of the same "
        "key\nresumes where it stopped; one that is finished is returned.\n\n"
        "  recjobs run --as-of 2016-10-17\n"
        "  recjobs run --as-of 2016-10-17 --fresh             # extract again: late rows enter\n"
        "  recjobs run --set model.name=ease --dry-run        # nothing is published",
    ),
    (
        "backfill",
        "run a range of nights",
        "Runs a night for each day, as_of in [since, until), oldest first. A night older than the "
        "newest\nlive one is stored and can be queried; it does not go live.\n\n"
        "  recjobs backfill --since 2016-10-10 --until 2016-10-17\n\n"
        "The same in Airflow (its dates are the starts of the nights' data intervals):\n"
        "  airflow backfill create --dag-id recjobs_shop --from-date 2016-10-09 \\\n"
        "      --to-date 2016-10-15T23:59:59",
    ),
    (
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
    ),
    (
        "status",
        "show what is live and the newest runs",
        "  recjobs status\n  recjobs status --limit 30 --json | jq '.runs[].rule'",
    ),
    (
        "rollback",
        "make the run before the live one live again",
        "One pointer moves; no list is written. A rolled-back run does not come back by itself.\n"
        "--pin also stops later runs from going live until --unpin.\n\n"
        "  recjobs rollback --why 'wrong prices in the feed' --pin\n"
        "  recjobs rollback --unpin",
    ),
    (
        "promote",
        "make a held or stored run live",
        "A held run is finished first: refit, score, check, publish. A run whose lists are "
        "incomplete or\nhold seen items is refused.\n\n"
        "  recjobs promote 12 --why 'checked by hand, the holdout was a holiday'",
    ),
    (
        "show",
        "show one user's list, with reasons",
        "  recjobs show 42\n  recjobs show 42 -n 5 --json",
    ),
    (
        "parts",
        "show the days that extract keeps between nights, or erase users from them",
        "What source.full_every keeps: a Parquet file for each day of the source. --erase removes "
        "users\nfrom all of them, for whom the source has forgotten; the source itself, the files "
        "of runs, models\nand published lists it does not touch. --drop removes everything: the "
        "next night reads in full.\n\n"
        "  recjobs parts\n"
        "  recjobs parts --erase 42 4711",
    ),
    (
        "bench",
        "measure a model on a public split in files",
        "Fits a model on T and judges it on E, without a database. Prints one JSON object.\n\n"
        "  recjobs bench quality --train T.parquet --test E.parquet --model ease --protocol full\n"
        "  recjobs bench quality --train T.parquet --test E.parquet --negatives N.parquet \\\n"
        "      --model mf --set embedding_dim=128 --protocol sampled --k 10\n"
        "  recjobs bench quality --train T.parquet --test E.parquet --model mf --protocol "
        "rating\n\n"
        "T and E have user_id and item_id (bigint or text); T may have rating, ts (epoch "
        "seconds or a\ntimestamp) and event, E rating and event. N has user_id and negatives, a "
        "list of ids; I has\nitem_id, and what else it has are features. A null rating is a choice "
        "without one, and each rating\nis a positive unless --set min_rating=4 says which. E and "
        "N are not read before the model is\nfitted.",
    ),
    (
        "tune",
        "try hyperparameters on folds before the holdout",
        "Tries the settings as they are first, then others, each on the same windows inside the "
        "training\ndata; the night's holdout is not touched. Trials are stored: the same command "
        "goes on where it\nstopped. The best is printed as a piece of the settings file.\n\n"
        "  recjobs tune --trials 40 --minutes 60                   # the newest run's data\n"
        "  recjobs tune --as-of 2016-10-17 --model ease --output ease.toml\n"
        "  recjobs tune --run 12 --metric rmse --folds 3",
    ),
    (
        "demo",
        "three nights on MovieLens in an embedded Postgres",
        "Starts a Postgres of its own under .demo (or uses RECJOBS_DSN), loads MovieLens, runs "
        "three\nnights and shows what came out.\n\n"
        "  recjobs demo\n  recjobs demo --airflow   # the same job under a real Airflow\n"
        "  recjobs demo --stop      # stop what the demo started",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`errors` says what each means)."""
    args = _parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        return _command(args.command)(args)
    except RecJobsError as error:
        if getattr(args, "json", False):
            name = type(error).__name__
            print(json.dumps({"error": name, "message": str(error), "exit": error.exit_code}))
        else:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    from recjobs import commands

    command: Callable[[argparse.Namespace], int] = getattr(commands, name)
    return command


class _Parser(argparse.ArgumentParser):
    """A parser whose errors exit with the code of a `ConfigError`, as all bad settings do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ConfigError.exit_code, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="recjobs",
        description="Nightly recommendations: interactions in Postgres to top-n lists in Postgres.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"recjobs {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers = {}
    for name, line, text in _COMMANDS:
        parsers[name] = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.\n\n{text}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name != "demo":
            parsers[name].add_argument("--json", action="store_true", help="JSON for machines")
        if name not in ("init", "bench", "demo"):
            parsers[name].add_argument(
                "--config",
                default=os.environ.get("RECJOBS_CONFIG", "recjobs.toml"),
                metavar="TOML",
                help="the job's settings (default: $RECJOBS_CONFIG, else recjobs.toml)",
            )
    _arguments(parsers)
    return parser


def _positive(text: str) -> int:
    """Return a whole number that a bigint holds, from 1."""
    number = int(text)
    if not 0 < number < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1. Received: {text}")
    return number


def _arguments(parsers: Mapping[str, argparse.ArgumentParser]) -> None:
    init = parsers["init"]
    where = init.add_mutually_exclusive_group()
    where.add_argument("--dsn", help="the database to look at; its password is not written down")
    where.add_argument("--dsn-env", default="RECJOBS_DSN", help="the variable that holds the DSN")
    init.add_argument("--schema", help="look at this schema alone")
    init.add_argument("--output", metavar="TOML", help="write here; an existing file is not lost")

    parsers["migrate"].add_argument(
        "--print-sql", action="store_true", help="print, change nothing"
    )
    parsers["migrate"].add_argument("--no-roles", action="store_true", help="make no roles")

    for name in ("run", "backfill"):
        parser = parsers[name]
        parser.add_argument("--fresh", action="store_true", help="extract again, as a new run")
        parser.add_argument("--dry-run", action="store_true", help="stop after check")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override a setting; such a run needs `promote` to go live",
        )
    parsers["run"].add_argument("--as-of", help="a date or a time (default: today, 00:00)")
    parsers["backfill"].add_argument("--since", required=True, help="the first as_of")
    parsers["backfill"].add_argument("--until", required=True, help="the end, not included")
    parsers["backfill"].add_argument(
        "--warm",
        action="store_true",
        help="start models from the weights of the night before, as [train] says; else from none",
    )
    parsers["run"].set_defaults(warm=True)

    parsers["stage"].add_argument("name", help="extract, validate, index, train, …")
    parsers["stage"].add_argument("--run", type=_positive, required=True, help="the run's id")
    parsers["stage"].add_argument("--shard", metavar="K/N", help="this share of N, from 1/N to N/N")

    parsers["status"].add_argument("--limit", type=_positive, default=10, help="how many runs")

    rollback = parsers["rollback"]
    rollback.add_argument("--why", default="", help="kept in the table publication")
    pinning = rollback.add_mutually_exclusive_group()
    pinning.add_argument("--pin", action="store_true", help="and stop later promotions")
    pinning.add_argument("--unpin", action="store_true", help="only let promotions happen again")

    parsers["promote"].add_argument("run", type=_positive, help="the run's id")
    parsers["promote"].add_argument("--why", required=True, help="kept in the table publication")

    parsers["show"].add_argument("user", help="a user's id, as the source spells it")
    parsers["show"].add_argument("-n", type=_positive, default=10, help="how many items")

    less = parsers["parts"].add_mutually_exclusive_group()
    less.add_argument("--erase", nargs="+", metavar="USER", help="remove users from every day")
    less.add_argument("--drop", action="store_true", help="remove every day")

    _bench_arguments(parsers["bench"])

    _tune_arguments(parsers["tune"])

    doing = parsers["demo"].add_mutually_exclusive_group()
    doing.add_argument("--stop", action="store_true", help="stop what the demo started")
    doing.add_argument("--airflow", action="store_true", help="run it under airflow standalone")
    parsers["demo"].add_argument("--folder", default=".demo", help="where the demo lives")


def _bench_arguments(bench: argparse.ArgumentParser) -> None:
    bench.add_argument("what", choices=("quality",), help="what to measure")
    bench.add_argument("--train", required=True, metavar="T", help="Parquet: what to learn from")
    bench.add_argument("--test", required=True, metavar="E", help="Parquet: what is to be found")
    bench.add_argument("--negatives", metavar="N", help="Parquet: the sampled protocol's negatives")
    bench.add_argument("--items", metavar="I", help="Parquet: a catalogue, with features")
    bench.add_argument("--model", required=True, metavar="NAME", help="as in [model] name")
    bench.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter, a TOML value; or min_rating, or event_weights",
    )
    bench.add_argument(
        "--protocol",
        required=True,
        choices=("full", "sampled", "rating"),
        help="all candidates are ranked, or E's and N's, or E's ratings are predicted",
    )
    bench.add_argument(
        "--candidates",
        choices=("train", "items", "unseen"),
        default="train",
        help="full: T's items, I's, or those of I (or E) that T lacks (default: train)",
    )
    bench.add_argument("--k", default="10,20", help="cutoffs (default: 10,20)")
    bench.add_argument("--seed", type=int, default=42, help="of all that is random (default: 42)")
    bench.add_argument("--per-user", metavar="P", help="write each user's values here, as Parquet")
    bench.add_argument("--threads", type=int, help="of the fit (default: every core)")


def _tune_arguments(tune: argparse.ArgumentParser) -> None:
    which = tune.add_mutually_exclusive_group()
    which.add_argument("--as-of", help="a date or a time; extracted where no run has its data")
    which.add_argument("--run", type=_positive, help="the run whose data to use")
    tune.add_argument("--model", metavar="NAME", help="of this model (default: the job's)")
    tune.add_argument("--trials", type=_positive, default=30, help="in all (default: 30)")
    tune.add_argument("--minutes", type=float, default=60.0, help="the most (default: 60)")
    tune.add_argument("--folds", type=_positive, default=2, help="windows (default: 2)")
    tune.add_argument(
        "--metric",
        choices=("ndcg@10", "recall@20", "hit_rate@10", "mrr", "rmse"),
        help="what is compared (default: gate.metric)",
    )
    tune.add_argument("--output", metavar="TOML", help="write the best here too")
    tune.add_argument("--folder", help="where trials are stored (default: artifacts.root)")


if __name__ == "__main__":
    sys.exit(main())
