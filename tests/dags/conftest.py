"""An Airflow of the tests' own: a home and a metadata database in a temporary folder.

Airflow reads where it lives when it is first imported, so nothing here imports it before
`airflow_home` has said so.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shop as shops
from shop import Shop

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """``AIRFLOW_HOME`` with an initialized metadata database."""
    home = tmp_path_factory.mktemp("airflow")
    jobs = home / "jobs"
    jobs.mkdir()
    ours = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "RECJOBS_JOBS": str(jobs),
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Airflow's own
        from airflow.utils.db import initdb

        initdb()
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def dags(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """Parse the DAG files for a folder of jobs, as Airflow's DAG processor does."""
    from airflow.dag_processing.dagbag import DagBag

    def parse(jobs: Path) -> Any:
        monkeypatch.setenv("RECJOBS_JOBS", str(jobs))
        return DagBag(str(DAGS))

    return parse


@pytest.fixture
def tasks(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of what the tasks do."""
    monkeypatch.syspath_prepend(str(DAGS))
    import recjobs_tasks

    module: ModuleType = recjobs_tasks
    return module


@pytest.fixture
def shop(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A job on a real Postgres, alone in its folder."""
    monkeypatch.setenv("RECJOBS__SCHEDULE__RETRY_DELAY_SECONDS", "0")
    return shops.open_shop(database, tmp_path, monkeypatch)
