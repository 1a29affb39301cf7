"""A whole Airflow on this machine, on loopback, beside the demo's data: for looking, not for work.

``airflow standalone`` runs the scheduler, the DAG processor, the triggerer and the API server under
one process. It goes on after this program ends; its process id is kept beside its settings.
"""

from __future__ import annotations

import configparser
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from recjobs.errors import ConfigError, RecJobsError

_HOST: Final = "127.0.0.1"
_PARTS: Final = ("metadatabase", "scheduler", "dag_processor", "triggerer")
_START_SECONDS: Final = 180.0
_STOP_SECONDS: Final = 30.0


def halt(home: Path) -> bool:
    """Stop the Airflow of this ``AIRFLOW_HOME`` and all that it started; tell whether one ran."""
    process = running(home)
    if process is None:
        return False
    family = [process, *process.children(recursive=True)]
    process.send_signal(signal.SIGINT)  # it then stops its parts in order
    _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for left in alive:
        left.kill()
    psutil.wait_procs(alive, timeout=_STOP_SECONDS)
    _pid_file(home).unlink(missing_ok=True)
    return True


def start(
    home: Path,
    jobs: Path,
    metadata: str | None = None,
    *,
    options: dict[str, dict[str, str]] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``airflow standalone`` in the background and wait until it is healthy.

    Args:
        home: What becomes ``AIRFLOW_HOME``.
        jobs: The folder of the jobs' TOML files.
        metadata: A URI of an empty Postgres database, or Airflow's own of an earlier start. None:
            SQLite, where a command beside a busy scheduler may find the database locked.
        options: More of Airflow's settings, by section and name.

    Raises:
        ConfigError: ``dags/`` is missing, or Airflow is not installed.
        RecJobsError: It ended or was not healthy in time; the message ends with its log.
    """
    dags = Path(__file__).resolve().parents[1] / "dags"
    if not (dags / "recjobs_jobs.py").is_file():
        raise ConfigError(f"expected the DAGs in {dags}: run this from a checkout of recjobs")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)  # passwords and keys lie in it
    stored = {"database": {"sql_alchemy_conn": _literal(metadata)}} if metadata else {}
    _configure(home, dags, {**(options or {}), **stored})
    binaries = str(Path(command()).parent)
    # Settings of another Airflow in the environment would win over this one's file.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW__")}
    environment = {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "RECJOBS_JOBS": str(jobs),
        # `standalone` starts its parts by the name `airflow`.
        "PATH": os.pathsep.join([binaries, os.environ.get("PATH", os.defpath)]),
    }
    with (home / "standalone.log").open("wb") as log:
        process = subprocess.Popen(
            [command(), "standalone"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _pid_file(home).write_text(str(process.pid))
    try:
        _wait(lambda: _healthy(home), process, home)
    except BaseException:
        halt(home)
        raise
    return process


def url(home: Path) -> str:
    """Return the address of the API and the pages."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(home / "airflow.cfg", encoding="utf-8")
    return settings["api"]["base_url"]


def running(home: Path) -> psutil.Process | None:
    """Return the Airflow of this ``AIRFLOW_HOME``, where it runs."""
    try:
        process = psutil.Process(int(_pid_file(home).read_text()))
        return process if "standalone" in process.cmdline() else None
    except (OSError, ValueError, psutil.Error):
        return None


def command() -> str:
    """Return the command `airflow` of this Python.

    Raises:
        ConfigError: Airflow is not installed.
    """
    beside = Path(sys.executable).with_name("airflow")
    found = str(beside) if beside.is_file() else shutil.which("airflow")
    if found is None:
        raise ConfigError("the command `airflow` is not installed beside this Python")
    return found


def _configure(home: Path, dags: Path, options: dict[str, dict[str, str]]) -> None:
    """Write ``airflow.cfg``: so ``AIRFLOW_HOME`` alone is enough for Airflow's command line."""
    port = _free_port(8080)
    settings = configparser.ConfigParser(interpolation=None)
    # The keys of the first start are kept: what it signed and encrypted stays readable.
    fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    settings.read_dict(
        {
            "core": {"fernet_key": fernet_key},
            "api": {"secret_key": secrets.token_urlsafe(32)},
            "api_auth": {"jwt_secret": secrets.token_urlsafe(32)},
        }
    )
    settings.read(home / "airflow.cfg", encoding="utf-8")
    settings.read_dict(
        {
            "core": {
                "dags_folder": _literal(str(dags)),
                "load_examples": "False",
                "dags_are_paused_at_creation": "False",
                "parallelism": "4",
            },
            "api": {
                "host": _HOST,
                "port": str(port),
                "base_url": f"http://{_HOST}:{port}",
                "workers": "1",
            },
            # Airflow binds these to every address; who asks needs a token signed with the secret.
            "logging": {
                "worker_log_server_port": str(_free_port(8793)),
                "trigger_log_server_port": str(_free_port(8794)),
            },
            "scheduler": {"enable_health_check": "False"},
        }
    )
    settings.read_dict(options)
    path = home / "airflow.cfg"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        settings.write(file)


def _literal(value: str) -> str:
    """Return a setting's value as the file has it: Airflow interpolates what it reads."""
    return value.replace("%", "%%")


def _healthy(home: Path) -> bool:
    try:
        with urllib.request.urlopen(f"{url(home)}/api/v2/monitor/health", timeout=5) as answer:
            health: dict[str, Any] = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return False
    return all(health.get(part, {}).get("status") == "healthy" for part in _PARTS)


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], home: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > until:
            log = (home / "standalone.log").read_text(encoding="utf-8", errors="replace")
            what = "ended" if ended else f"was not healthy after {_START_SECONDS:.0f} s"
            tail = "\n".join(log.splitlines()[-20:])
            raise RecJobsError(f"airflow standalone {what}; its log ends with:\n{tail}")
        time.sleep(0.5)


def _pid_file(home: Path) -> Path:
    return home / "standalone.pid"


def _free_port(wanted: int) -> int:
    """Return the wanted port where it is free on every address, else one that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ConfigError("no TCP port is free on this machine")
