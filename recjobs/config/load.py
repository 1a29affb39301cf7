"""Reading a job's settings: one TOML file, and the environment over it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from recjobs.config.operation import ArtifactSettings
from recjobs.config.settings import Settings, set_key
from recjobs.errors import ConfigError

_PREFIX: Final = "RECJOBS__"


def load_settings(path: str | Path, env: Mapping[str, str] | None = None) -> Settings:
    """Read a job's TOML file; the environment's ``RECJOBS__…`` variables win over it.

    ``job.name`` defaults to the file's stem; SQL files and a relative local ``artifacts.root`` are
    taken from the TOML file's folder.

    Raises:
        ConfigError: The file is missing, is not TOML, or a setting is unknown or out of range.
    """
    path = Path(path)
    env = os.environ if env is None else env
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"there is no settings file {path}. Make one with: recjobs init --dsn …"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} can't be read as TOML: {error}") from error
    for name, value in env.items():
        if name.startswith(_PREFIX):
            set_key(data, name.removeprefix(_PREFIX).lower().split("__"), parse_value(value))
    job = data.setdefault("job", {})
    if isinstance(job, dict):
        job.setdefault("name", re.sub(r"[^a-z0-9_]", "_", path.stem.lower()))
    _anchor(data, path.resolve().parent)
    return Settings.of(data, str(path))


def parse_value(text: str) -> Any:
    """Return the variable's text as the TOML value it spells; a date, and the rest, as a string."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return text if isinstance(value, date | time) else value


def toml_value(value: Any) -> str:
    """Return a value as TOML spells it: as JSON does, but for tables."""
    if isinstance(value, dict):
        pairs = (f"{_toml_key(key)} = {toml_value(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Take paths from the settings file's folder; what is no section is refused by the model."""
    source, artifacts = data.get("source"), data.setdefault("artifacts", {})
    tables = [source, source.get("items"), source.get("users")] if isinstance(source, dict) else []
    for table in tables:
        if isinstance(table, dict) and table.get("sql_file"):
            table["sql_file"] = str(folder / str(table["sql_file"]))
    if isinstance(artifacts, dict):
        root = str(artifacts.get("root", ArtifactSettings().root))
        if "://" not in root:
            artifacts["root"] = os.path.normpath(folder / root)
