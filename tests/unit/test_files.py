"""Paths that a person names: what can't be written is refused before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from recjobs.cli import main
from recjobs.errors import ConfigError
from recjobs.files import check_writable


@pytest.mark.parametrize(
    ("path", "why"),
    [("", "Is a directory"), ("gone/p", "No such file"), ("file/p", "Not a directory")],
)
def test_what_can_not_be_written_is_refused(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"^--output: {tmp_path / path} can't be written: {why}"):
        check_writable(tmp_path / path, "--output")


def test_to_ask_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    check_writable(tmp_path / "there", "--output")
    check_writable(tmp_path / "new", "--output")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"there": "kept"}


def test_a_demo_is_not_made_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["demo", "--folder", str(tmp_path / "file")]) == 2
    assert "--folder: the folder" in capsys.readouterr().err
