"""The parser of the command line, made of what each command says of itself."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Final, NoReturn

from recjobs import __version__
from recjobs.cli import live, looking, models, nights, set_up
from recjobs.errors import ConfigError

COMMANDS: Final = (
    *set_up.COMMANDS,
    *nights.COMMANDS,
    *live.COMMANDS,
    *looking.COMMANDS,
    *models.COMMANDS,
    set_up.DEMO,
)

_EPILOG: Final = """\
exit codes
  0  done                        4  the gate held the model; what was live stays live
  1  the machine, or a defect   5  the database failed: run it again, it resumes
  2  settings or arguments          (leave out --fresh, which begins anew)
  3  bad input: nothing changed  6  another run of this job is at work: wait for it

a first night
  recjobs init --dsn postgresql://me@localhost/shop > recjobs.toml
  recjobs doctor && recjobs migrate && recjobs run --as-of 2016-10-17
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors exit with the code of a `ConfigError`, as all bad settings do."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ConfigError.exit_code, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    whole = _Parser(
        prog="recjobs",
        description="Nightly recommendations: interactions in Postgres to top-n lists in Postgres.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"recjobs {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(
            command.name,
            help=command.line,
            description=f"{command.line[0].upper()}{command.line[1:]}.\n\n{command.text}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.json:
            one.add_argument("--json", action="store_true", help="JSON for machines")
        if command.config:
            one.add_argument(
                "--config",
                default=os.environ.get("RECJOBS_CONFIG", "recjobs.toml"),
                metavar="TOML",
                help="the job's settings (default: $RECJOBS_CONFIG, else recjobs.toml)",
            )
        command.arguments(one)
    return whole
