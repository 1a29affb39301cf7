"""The models' pages are the models: their names, settings, defaults, needs and measured figures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks import model_pages
from recjobs.bench.fitting import Validation
from recjobs.config import Settings
from recjobs.models import REGISTRY, RatingModel, check_params, model_class

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {page.stem: page for page in sorted((DOCS / "models").glob("*.md"))}
EVERY_PAGE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SECTIONS = [
    "Score", "Fit", "Settings", "When", "Cost", "New users, new items, reasons", "Sources",
]  # fmt: skip
#: The default of a setting that is worked out in the fit: None in the code.
WORKED_OUT = "by the data"


def _fragments() -> list[Any]:
    return [
        pytest.param(page, block, id=f"{page.stem}-{number}")
        for page in EVERY_PAGE
        for number, block in enumerate(
            re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        )
    ]


def test_every_model_has_a_page_and_every_page_a_model() -> None:
    assert set(PAGES) == set(REGISTRY)
    overview = (DOCS / "models.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(models/(\w+)\.md\)", overview)) == set(REGISTRY)


@pytest.mark.parametrize("name", REGISTRY)
def test_the_page_has_its_sections_in_order(name: str) -> None:
    headings = re.findall(r"^#+ (.+)$", PAGES[name].read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [f"`{name}`", *SECTIONS]


@pytest.mark.parametrize("name", REGISTRY)
def test_the_settings_and_their_defaults_are_the_models(name: str) -> None:
    page = PAGES[name].read_text(encoding="utf-8")
    table = page.split("## Settings\n")[1].split("\n## ")[0]
    shown = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", table, re.MULTILINE))
    fields = model_class(name).Settings.model_fields
    wrong = [f"drop the row of {key}" for key in shown if key not in fields]
    for key, field in fields.items():
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        if key not in shown:
            wrong.append(f"add a row for {key}, default {default!r}")
        elif default != _default(shown[key]):
            wrong.append(f"the default of {key} is {default!r}, not {shown[key]}")
    assert not wrong, f"docs/models/{name}.md: {'; '.join(wrong)} (None is {WORKED_OUT!r})"


def _default(cell: str) -> Any:
    """Return what a cell says: a value as TOML writes it, or None for one that is worked out."""
    value = re.fullmatch(r"`(.+)`", cell)
    if value:
        return tomllib.loads(f"value = {value[1]}")["value"]
    return None if cell == WORKED_OUT else cell


@pytest.mark.parametrize("name", REGISTRY)
def test_the_needs_are_the_models(name: str) -> None:
    page = PAGES[name].read_text(encoding="utf-8")
    needs = re.search(r"\| feedback \| item features \| times \|\n\|.*\n\| (.+) \|\n", page)
    assert needs
    feedback, features, times = needs[1].split(" | ")
    kind = model_class(name)
    ratings = issubclass(kind, RatingModel)
    assert feedback == ("implicit, ratings" if ratings else "implicit")
    if name == "blend":  # whichever it holds, and a reranker reads times
        assert (features, times) == ("as its models", "as its models; used by `rerank`")
        return
    assert features == ("needed" if kind.needs_features else "no")
    assert (times == "needed") == kind.needs_time


def test_the_measured_figures_are_those_of_the_quality_page() -> None:
    for page, text in model_pages.pages(DOCS).items():
        assert "<!-- measured" in text, page.name
        assert page.read_text(encoding="utf-8") == text, (
            f"{page.relative_to(ROOT)} does not show what docs/quality.md has: "
            "PYTHONPATH=tests .venv/bin/python -m benchmarks.model_pages"
        )


def test_the_quality_page_is_read_as_it_stands() -> None:
    tables = {table.name: table for table in model_pages.tables(QUALITY)}
    assert list(tables) == ["a-split", "ratings"]
    one = tables["a-split"]
    assert (one.title, one.anchor, one.protocol) == ("A, the first", "a-the-first", "full")
    assert one.metrics == ("ndcg@10", "recall@20")
    assert list(one.rows) == ["ease", "random order"]
    assert one.rows["ease"]["ndcg@10"] == "0.5000 [0.4000, 0.6000]"
    assert tables["ratings"].rows["mf"]["settings"] == "l2 = 3.0"


QUALITY = """\
# Page
| family | what | seeds |
### A, the first

`a-split`, protocol *full*

| family | ndcg@10 | recall@20 | seeds | settings |
| --- | --- | --- | --- | --- |
| `ease` | 0.5000 [0.4000, 0.6000] | 0.1 [0, 1] | 1 | defaults |
| `random order` | 0.1000 [0.0000, 0.2000] | 0.1 [0, 1] | 1 | defaults |

Paired difference of ndcg@10:

| family | minus `ease` |
| --- | --- |
| `ease` |  |

### Not measured

`nothing`, protocol *full*


### Ratings

`ratings`, protocol *rating*

| family | rmse | seeds | settings |
| --- | --- | --- | --- |
| `mf` | 0.8 [0.7, 0.9] | 3 | l2 = 3.0 |

### Presets
"""


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, place = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if place:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in {model_pages.anchor(heading) for heading in headings}, link


@pytest.mark.parametrize(("page", "block"), _fragments())
def test_the_toml_loads_as_settings(page: Path, block: str) -> None:
    given = tomllib.loads(block)
    if page.name == "quality.md":  # presets: by split, then by model
        models = [model for split in given.values() for model in split.items()]
        for _, params in models:
            assert params.pop("validation", "last") in get_args(Validation)
    else:
        given.setdefault("job", {}).setdefault("name", "shop")
        source = given.setdefault("source", {})
        if not source.get("sql_file"):
            source.setdefault("table", "app.clicks")
        model = Settings.model_validate(given).model
        models = [(model.name, model.params)]
    for name, params in models:
        check_params(name, params)
