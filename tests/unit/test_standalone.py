"""What `make airflow` writes and finds, without starting it (the acceptance tests do)."""

from __future__ import annotations

import configparser
import os
import socket
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml

from recjobs import standalone
from recjobs.errors import RecJobsError


def settings(home: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(home / "airflow.cfg")
    return parser


@pytest.fixture
def fake_airflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `airflow` that says something and ends."""
    script = tmp_path / "bin" / "airflow"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho the database is locked\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(standalone, "command", lambda: str(script))
    return script


def test_listens_on_loopback_and_airflow_knows_every_option(tmp_path: Path) -> None:
    standalone._configure(tmp_path, Path("/srv/100%/dags"), {"core": {"parallelism": "2"}})
    written = settings(tmp_path)
    assert written["api"]["host"] == "127.0.0.1"
    assert standalone.url(tmp_path) == written["api"]["base_url"]
    assert written["core"]["dags_folder"] == "/srv/100%%/dags"
    assert written["core"]["parallelism"] == "2"
    spec = find_spec("airflow")
    assert spec is not None
    assert spec.origin is not None
    templates = Path(spec.origin).parent / "config_templates"
    known = yaml.safe_load((templates / "config.yml").read_text())
    for section in written.sections():
        for option in written[section]:
            assert option in known[section]["options"], f"[{section}] {option}"


def test_keeps_its_keys_to_itself_and_from_start_to_start(tmp_path: Path) -> None:
    def keys() -> list[str]:
        standalone._configure(tmp_path, Path("/dags"), {})
        assert stat.S_IMODE((tmp_path / "airflow.cfg").stat().st_mode) == 0o600
        found = settings(tmp_path)
        return [
            found["core"]["fernet_key"],
            found["api"]["secret_key"],
            found["api_auth"]["jwt_secret"],
        ]

    first = keys()
    assert all(len(key) > 40 for key in first)
    assert keys() == first


def test_takes_another_port_where_one_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert standalone._free_port(port) != port


def test_says_why_airflow_did_not_come_up(tmp_path: Path, fake_airflow: Path) -> None:
    home = tmp_path / "airflow"
    with pytest.raises(RecJobsError, match=r"standalone ended(.|\n)*database is locked"):
        standalone.start(home, tmp_path)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_stops_nothing_where_nothing_runs(tmp_path: Path) -> None:
    assert standalone.halt(tmp_path / "airflow") is False
    (tmp_path / "airflow").mkdir()
    # A process of that id, but another one.
    (tmp_path / "airflow" / "standalone.pid").write_text(str(os.getpid()))
    assert standalone.halt(tmp_path / "airflow") is False


def test_stops_the_process_and_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "_STOP_SECONDS", 300)
    home = tmp_path / "airflow"
    home.mkdir()
    child = "import os; print(os.getpid(), flush=True); input()"
    # A shell without job control has a background job, this test's too, ignore the signal.
    code = (
        "import signal, subprocess, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        f"subprocess.run([sys.executable, '-c', {child!r}])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "standalone"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        # Both are up, and /proc tells their command lines: right after a fork it does not.
        started = int(process.stdout.readline())
        (home / "standalone.pid").write_text(str(process.pid))
        assert standalone.halt(tmp_path / "airflow") is True
        assert process.poll() is not None
        assert not psutil.pid_exists(started)
    assert not (home / "standalone.pid").exists()
