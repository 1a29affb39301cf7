"""What can be said to measure and tune models: bench, tune."""

from __future__ import annotations

import argparse

from recjobs.cli.command import Command, positive


def _bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("quality",), help="what to measure")
    parser.add_argument("--train", required=True, metavar="T", help="Parquet: what to learn from")
    parser.add_argument("--test", required=True, metavar="E", help="Parquet: what is to be found")
    parser.add_argument(
        "--negatives", metavar="N", help="Parquet: the sampled protocol's negatives"
    )
    parser.add_argument("--items", metavar="I", help="Parquet: a catalogue, with features")
    parser.add_argument("--model", required=True, metavar="NAME", help="as in [model] name")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter, a TOML value; or min_rating, event_weights or validation",
    )
    parser.add_argument(
        "--protocol",
        required=True,
        choices=("full", "sampled", "rating"),
        help="all candidates are ranked, or E's and N's, or E's ratings are predicted",
    )
    parser.add_argument(
        "--candidates",
        choices=("train", "items", "unseen"),
        default="train",
        help="full: T's items, I's, or those of I (or E) that T lacks (default: train)",
    )
    parser.add_argument("--k", default="10,20", help="cutoffs (default: 10,20)")
    parser.add_argument("--seed", type=int, default=42, help="of all that is random (default: 42)")
    parser.add_argument("--per-user", metavar="P", help="write each user's values here, as Parquet")
    parser.add_argument("--threads", type=int, help="of the fit (default: every core)")


def _tune(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--as-of", help="a date or a time; extracted where no run has its data")
    which.add_argument("--run", type=positive, help="the run whose data to use")
    parser.add_argument("--model", metavar="NAME", help="of this model (default: the job's)")
    parser.add_argument("--trials", type=positive, default=30, help="in all (default: 30)")
    parser.add_argument("--minutes", type=float, default=60.0, help="the most (default: 60)")
    parser.add_argument("--folds", type=positive, default=2, help="windows (default: 2)")
    parser.add_argument(
        "--metric",
        choices=("ndcg@10", "recall@20", "hit_rate@10", "mrr", "rmse"),
        help="what is compared (default: gate.metric)",
    )
    parser.add_argument("--output", metavar="TOML", help="write the best here too")
    parser.add_argument("--folder", help="where trials are stored (default: artifacts.root)")


COMMANDS = (
    Command(
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
        "N are not read before the model is\nfitted. Epochs and a blend's weights are chosen on a "
        "tenth of T: rows that are each a user's last,\nor with --set validation=newest the newest "
        "of all, where E is the time after T.",
        _bench,
        config=False,
    ),
    Command(
        "tune",
        "try hyperparameters on folds before the holdout",
        "Tries the settings as they are first, then others, each on the same windows inside the "
        "training\ndata; the night's holdout is not touched. Trials are stored: the same command "
        "goes on where it\nstopped. The best is printed as a piece of the settings file.\n\n"
        "  recjobs tune --trials 40 --minutes 60                   # the newest run's data\n"
        "  recjobs tune --as-of 2016-10-17 --model ease --output ease.toml\n"
        "  recjobs tune --run 12 --metric rmse --folds 3",
        _tune,
    ),
)
