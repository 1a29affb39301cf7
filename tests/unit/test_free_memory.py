"""What a fit may still take, under both versions of control groups and under none."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from recjobs.models.free_memory import free_memory

V2 = ("memory.max", "memory.current", "memory.stat", "inactive_file")
V1 = (
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


@pytest.mark.parametrize(("limit", "used", "stat", "cached"), [V2, V1])
def test_a_control_group_has_less(
    tmp_path: Path, limit: str, used: str, stat: str, cached: str
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("5000\n")
    (tmp_path / used).write_text("3000\n")
    (tmp_path / stat).write_text(f"anon 2500\n{cached} 400\n")
    assert free_memory(tmp_path) == 2400
    (tmp_path / used).write_text("6000\n")
    assert free_memory(tmp_path) == 0


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    machine = psutil.virtual_memory().total
    assert 0 < free_memory(tmp_path) <= machine
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("inactive_file 400\n")
    assert 3000 < free_memory(tmp_path) <= machine
