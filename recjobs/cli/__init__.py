"""The command line: what can be said. What is then done stands in `commands`.

Nothing slow is imported here, so that ``recjobs --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence

from recjobs.cli.parser import build_parser
from recjobs.errors import RecJobsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (`errors` says what each means)."""
    args = build_parser().parse_args(argv)
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
        # With it, the same command would begin yet another run.
        again = " without --fresh" if getattr(args, "fresh", False) else ""
        print(f"stopped; the same command{again} resumes", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    from recjobs import commands

    command: Callable[[argparse.Namespace], int] = getattr(commands, name)
    return command
