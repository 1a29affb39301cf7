"""What the documentation says of the DAGs, held against them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from recjobs import cli, instants
from recjobs.config import ScheduleSettings
from recjobs.instants import parse_as_of

pytestmark = pytest.mark.filterwarnings("ignore:::airflow", "ignore:::pathspec")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "airflow.md").read_text()


@pytest.fixture
def dag(dags: Callable[[Path], Any], tmp_path: Path) -> Any:
    (tmp_path / "shop.toml").write_text('[source]\ntable = "clicks"\n')
    return dags(tmp_path).dags["recjobs_shop"]


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading, by each name in its first column."""
    section = PAGE.split(f"## {heading}\n", 1)[1]
    table = section[section.index("| ") :].split("\n\n", 1)[0]
    found = {}
    for line in table.splitlines()[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        for name in re.findall(r"`(\w+)`", names):
            found[name] = cells
    return found


def test_every_schedule_setting_is_told_with_its_default() -> None:
    table = rows("Set-up")
    assert set(table) == set(ScheduleSettings.model_fields)
    defaults = ScheduleSettings().model_dump()
    for name in ("cron", "start_date", "pool", "owner", "retries", "stage_timeout_minutes"):
        default = defaults[name]
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert shown in table[name][0], name


def test_every_parameter_is_told(dag: Any) -> None:
    assert set(rows("Runs")) == set(dag.params)


def nights(dag: Any, tasks: ModuleType, command: str) -> list[datetime]:
    """The nights that a backfill command runs, by Airflow's own reckoning."""
    from airflow.serialization.serialized_objects import DagSerialization

    since, until = (
        datetime.fromisoformat(date).replace(tzinfo=UTC)
        for date in re.findall(r"--(?:from|to)-date\s+(\S+)", command)
    )
    read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    infos = read.iter_dagrun_infos_between(since, until)
    ends = [SimpleNamespace(data_interval_end=info.data_interval.end) for info in infos]
    return [tasks.resolve_as_of(None, end, "UTC") for end in ends]


def test_the_pages_backfill_runs_the_nights_it_names(dag: Any, tasks: ModuleType) -> None:
    (command,) = re.findall(r"airflow backfill create(?:.|\n)*?\n\n", PAGE)
    assert "the nights of 2 to 8 January" in PAGE
    assert nights(dag, tasks, command) == [
        datetime(2026, 1, day, tzinfo=UTC) for day in range(2, 9)
    ]


def test_the_command_lines_help_gives_the_same_nights_as_airflow(
    dag: Any, tasks: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["backfill", "--help"])
    text = capsys.readouterr().out
    ours = re.search(r"recjobs backfill --since (\S+) --until (\S+)", text)
    assert ours is not None
    since, until = (parse_as_of(date, "UTC") for date in ours.groups())
    expected = list(instants.nights(since, until, "UTC"))
    assert nights(dag, tasks, text[text.index("airflow backfill") :]) == expected
