"""docs/settings.md lists every setting, under its section, with its default."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from recjobs.config import Settings, load_settings

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def _documented() -> dict[str, str]:
    found, section = {}, ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## \[(.+)\]", line):
            section = heading[1]
        elif row := re.match(r"\| `(\w+)` \| (.+?) \| (.+) \|$", line):
            found[f"{section}.{row[1]}"] = row[2]
    return found


def _settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{key}.")
        else:
            yield key, "computed" if field.default_factory else field.default


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(_documented()) == {key for key, _ in _settings()}


def test_no_setting_is_called_required_that_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text('[source]\ntable = "clicks"\n', encoding="utf-8")
    assert load_settings(path, {}).job.name == "shop"
    documented = _documented()
    assert documented["job.name"] == "the file's stem"
    assert [key for key, shown in documented.items() if "required" in shown] == []


def test_the_defaults_are_true() -> None:
    documented = _documented()
    for key, default in _settings():
        shown = documented[key]
        if shown.startswith("`"):
            value = tomllib.loads(f"value = {shown.strip('`')}")["value"]
            assert value == (list(default) if isinstance(default, tuple) else default), key
