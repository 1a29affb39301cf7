"""What a person and a scheduler wait for before anything happens, without Airflow's own share."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.performance.harness import Row
from benchmarks.performance.shapes import Shape

_DAGS = Path(__file__).resolve().parents[3] / "dags"
_HELP = """
import time
since = time.process_time()
from recjobs.cli import main
try: main(["--help"])
except SystemExit: pass
print()
print(time.process_time() - since)
"""
_PARSE = """
import sys, time
from airflow.dag_processing.dagbag import DagBag
import airflow.providers.standard.operators.python
since = time.process_time()
bag = DagBag(sys.argv[1])
assert len(bag.dags) == 12 and not bag.import_errors, bag.import_errors
print(time.process_time() - since)
"""


def compare(shape: Shape, repeats: int) -> list[Row]:
    """Time both; the shape is no matter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jobs").mkdir()
        for n in range(12):
            (folder / "jobs" / f"job{n}.toml").write_text('[source]\ntable = "clicks"\n')
        environment = {
            **os.environ, "AIRFLOW_HOME": name, "RECJOBS_JOBS": str(folder / "jobs"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        }  # fmt: skip
        return [
            _row("recjobs --help", _HELP, [], environment, 0.3, repeats),
            _row("parsing 12 jobs' DAGs", _PARSE, [str(_DAGS)], environment, 0.5, repeats),
        ]


def _row(
    what: str, code: str, words: list[str], environment: dict[str, str], most: float, repeats: int
) -> Row:
    seconds = []
    for _ in range(repeats):
        said = subprocess.check_output(
            [sys.executable, "-W", "ignore", "-c", code, *words], env=environment, text=True
        )
        seconds.append(float(json.loads(said.splitlines()[-1])))
    middle = statistics.median(seconds)
    return Row(
        "start-up", what, "nothing", middle, min(seconds), max(seconds), ("≤", most), "s of CPU"
    )
