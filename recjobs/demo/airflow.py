"""The demo's job under a whole Airflow on this machine, and where to look at it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from recjobs import standalone
from recjobs.config import load_settings


def home_in(folder: Path) -> Path:
    """Return what is Airflow's home, below the demo's folder."""
    return folder / "airflow"


def serve(folder: Path, jobs: Path, metadata: str | None) -> int:
    """Start Airflow for a folder of jobs, unless it runs, and say where and how to look at it.

    Args:
        folder: The demo's folder; Airflow's own files go into ``airflow`` below it.
        jobs: The folder of the jobs' TOML files.
        metadata: As for `standalone.start`.

    Raises:
        ConfigError: This is no checkout (``dags/`` is missing), or Airflow is not installed.
        RecJobsError: Airflow did not come up.
    """
    home = home_in(folder)
    running = standalone.running(home)
    if running is None:
        print("Airflow: starting (half a minute)", file=sys.stderr, flush=True)
        standalone.start(home, jobs, metadata)
    else:
        print(f"Airflow: reusing the one that runs, process {running.pid}", file=sys.stderr)
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    airflow = f"AIRFLOW_HOME={home} {standalone.command()}"
    print(f"Airflow      {standalone.url(home)}")
    for user, password in passwords.items():
        print(f"             user {user}, password {password}")
    for path in sorted(jobs.glob("*.toml")):
        dag_id = f"recjobs_{load_settings(path).job.name}"
        print(f"the job      DAG {dag_id}; its newest night is under way")
        print(
            f"older nights {airflow} backfill create --dag-id {dag_id} "
            "--from-date 2016-10-10 --to-date 2016-10-12T23:59:59"
        )
    print(f"its log      {home / 'standalone.log'}")
    print("make demo-stop stops it.")
    return 0
