"""The README's picture of the code is the code: its list of modules, its tables, its commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import shop as shops
from recjobs import cli, errors, models, pipeline
from recjobs.cli.parser import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _layers() -> list[set[str]]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
    layers = next(c["layers"] for c in contracts if c["type"] == "layers")
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def _listed() -> list[str]:
    block = re.search(r"<!-- layers -->\n```text\n(.*?)```", README, re.DOTALL)
    assert block
    return re.findall(r"^(\w+) ", block[1], re.MULTILINE)


def test_the_list_of_modules_is_the_package() -> None:
    package = ROOT / "recjobs"
    modules = {p.stem for p in package.glob("*.py") if p.stem != "__init__"}
    modules |= {p.parent.name for p in package.glob("*/__init__.py")}
    assert sorted(_listed()) == sorted(modules)


def test_the_list_of_modules_is_in_the_order_of_the_layers() -> None:
    rank = {name: number for number, layer in enumerate(_layers()) for name in layer}
    ranks = [rank[name] for name in _listed()]
    assert ranks == sorted(ranks)


def test_every_model_exit_code_stage_and_command_is_named() -> None:
    for name in models.REGISTRY:
        assert f"| `{name}` |" in README
    for error in vars(errors).values():
        if isinstance(error, type) and error is not errors.RecJobsError:
            assert f"| {error.exit_code} |" in README
    for stage in pipeline.STAGES:
        assert re.search(rf"\b{stage}\b", README)
    for command in COMMANDS:
        name = command.name
        assert f"recjobs {name}" in README or f"make {name}" in README, name


def test_every_page_that_is_linked_is_there() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_make_targets_it_names_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = README + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:`|\$ )make ([a-z-]+)", pages)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_commands_for_your_own_data_run_as_they_stand(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shops.open_shop(database, tmp_path, monkeypatch).execute("drop schema recs cascade")
    monkeypatch.setenv("RECJOBS_DSN", database)
    monkeypatch.chdir(tmp_path)
    block = re.search(r"## Your own data\n\n```console\n(.*?)```", README, re.DOTALL)
    assert block
    commands = re.findall(r"^\$ recjobs (.*?)(?:\s+#.*)?$", block[1], re.MULTILINE)
    assert [words.split()[0] for words in commands] == ["init", "doctor", "migrate", "run", "show"]
    for words in commands:
        words = words.replace("2016-10-17", f"{shops.night(30):%Y-%m-%d}")
        assert cli.main(shlex.split(words)) == 0, words


def test_the_other_commands_are_understood() -> None:
    commands = re.findall(r"^\| `recjobs ([^`]+)`", README, re.MULTILINE)
    assert commands
    for words in commands:
        if not words.endswith(" …"):  # more is asked for than a table has room for
            build_parser().parse_args(shlex.split(re.sub(r"\[(.*)\]", r"\1", words)))
