"""The report, on the artifacts of real stages: whole, in part, hostile, broken."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logs import score
from recjobs.artifacts import RunFolder, StageOutput
from recjobs.check import check
from recjobs.cli.parser import build_parser
from recjobs.columns import POPULAR
from recjobs.commands.words import overrides_of
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.evaluate import evaluate
from recjobs.expectations import Outcome
from recjobs.files import file_sha256, read_json, write_json
from recjobs.gate import gate
from recjobs.instants import parse_as_of
from recjobs.progress import silent
from recjobs.report import MetricPoint, Publication, ReportFacts, report
from recjobs.report import page as page_module
from recjobs.report.figures import choices
from recjobs.report.headline import as_of_argument, headline, reproduction
from recjobs.report.lists import popularity_curves, read_lists
from recjobs.report.numbers import Estimate, duration, number
from recjobs.report.plots import Night, by_model, over_nights, timings
from recjobs.report.samples import sample_lists
from recjobs.snapshot import read_snapshot
from recjobs.split import split
from recjobs.train import refit, train

AS_OF = datetime(2026, 2, 1, tzinfo=UTC)
MICROSECONDS = int(AS_OF.timestamp()) * 1_000_000
HOSTILE = "<script>alert('x')</script>"
STAGES = (
    "extract", "validate", "index", "train", "evaluate", "gate", "refit", "score", "check",
)  # fmt: skip


def settings(**changes: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {
            "job": {"name": "shop", "training_threads": 1},
            "source": {"table": "clicks"},
            "holdout": {"days": 4},
            "model": {"name": "item_knn"},
            "evaluate": {"bootstrap": 100, "baselines": ["popular"]},
            "gate": {"min_users": 10},
            "score": {"n": 5, "margin": 3},
            **changes,
        }
    )


def facts(**changes: Any) -> ReportFacts:
    known: dict[str, Any] = {
        "run_id": 7,
        "as_of": AS_OF,
        "status": "stored",
        "model": "item_knn",
        "settings_hash": "9f3c1d7e5b2a4c60",
        "code_version": "0.1.0+0123456789ab",
        "seed": 42,
        "training_threads": 1,
        "started_at": AS_OF + timedelta(hours=2),
        "stage": "publish",
        "decision": "promote",
        "rule": "item_knn is above popular",
        "published_source": "model",
        "live_run_id": 7,
        "snapshot_digest": "ab" * 32,
    }
    return ReportFacts(**{**known, **changes})


def snapshot(folder: RunFolder) -> None:
    """Forty users in two groups, each with items of its own; ids and titles are hostile."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(40), 12)
    item = (user % 2) * 15 + rng.integers(15, size=len(user))
    ts = MICROSECONDS - rng.integers(1, 20 * 86_400_000_000, size=len(user))
    order = np.lexsort((item, user, ts))
    rows = pa.table(
        {
            "user_id": [f"{HOSTILE}{u:02d}" for u in user[order]],
            "item_id": pa.array(item[order], pa.int64()),
            "ts": pa.array(ts[order], pa.timestamp("us", "UTC")),
            "rating": pa.nulls(len(user), pa.float32()),
            "event": [f"buy {HOSTILE}"] * len(user),
        }
    )
    items = pa.table(
        {
            "item_id": pa.array(range(30), pa.int64()),
            "title": [None if i == 0 else f'{HOSTILE} & "Title" {i}' for i in range(30)],
            "created_at": pa.nulls(30, pa.timestamp("us", "UTC")),
            "available": pa.nulls(30, pa.bool_()),
        }
    )
    newcomer = pa.table(
        {
            "user_id": [*(f"{HOSTILE}{u:02d}" for u in range(40)), "newcomer"],
            "created_at": pa.array([MICROSECONDS - 1] * 41, pa.timestamp("us", "UTC")),
            "active": pa.nulls(41, pa.bool_()),
        }
    )
    with folder.writing("extract") as out:
        pq.write_table(rows, out.folder / "interactions.parquet")
        pq.write_table(items, out.folder / "items.parquet")
        pq.write_table(newcomer, out.folder / "users.parquet")
        out.summary = {"rows": len(rows), "digest": "ab" * 32}
    with folder.writing("validate") as out:
        pq.write_table(rows, out.folder / "interactions.parquet")
        outcomes = [
            Outcome("validate", "nulls", "warn", False, 0.2, 0.05, f"nulls {HOSTILE}"),
            Outcome("validate", "too_few", "stop", True, len(rows), 100, "enough"),
        ]
        out.summary = {
            "rows": len(rows),
            "rejected": {"nulls": 3, "duplicates": 0},
            "outcomes": [asdict(outcome) for outcome in outcomes],
        }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A whole night's artifacts, each left by its own stage."""
    folder, job = RunFolder(str(tmp_path_factory.mktemp("night")), 7), settings()
    snapshot(folder)
    with folder.writing("index") as out:
        log = read_snapshot(
            folder.path("validate", "interactions.parquet"),
            folder.path("extract", "items.parquet"),
            folder.path("extract", "users.parquet"),
            id_types=("text", "bigint"),
            as_of=MICROSECONDS,
        )
        log.save(out.folder)
    parts = split(log, job.holdout, MICROSECONDS)
    with folder.writing("train") as out:
        model = train(log, parts, job, out, silent)
    with folder.writing("evaluate") as out:
        evaluate(model, log, parts, job, None, out, silent)
    with folder.writing("gate") as out:
        differences = read_json(folder.path("evaluate", "differences.json"))
        out.summary = asdict(gate(differences, job.gate, anything_live=False))
    with folder.writing("refit") as out:
        model = refit(log, MICROSECONDS, None, {}, job, out, silent)
    with folder.writing("score") as out:
        score(model, log, MICROSECONDS, job, out, silent)
    with folder.writing("check") as out:
        lists, popular = (folder.path("score", f"{n}.parquet") for n in ("lists", "popular"))
        check([lists], popular, log, MICROSECONDS, None, job, out, silent)
    return folder


@pytest.fixture
def log(finished: RunFolder) -> Interactions:
    return Interactions.load(*(finished.path("index", name) for name in Interactions.FILES))


def part_of(finished: RunFolder, root: Path, stages: tuple[str, ...]) -> RunFolder:
    """A run that got no further than these stages."""
    folder = RunFolder(str(root), 7)
    for stage in stages:
        Path(folder.url, stage).parent.mkdir(parents=True, exist_ok=True)
        Path(folder.url, stage).symlink_to(Path(finished.url, stage))
    return folder


def write(
    folder: RunFolder, root: Path, of: ReportFacts, job: Settings | None = None
) -> tuple[str, list[str]]:
    """Write the page; return its text and its gaps."""
    out = StageOutput(root)
    report(of, job or settings(), folder, out)
    text = (root / "report.html").read_text(encoding="utf-8")
    assert out.summary["bytes"] == len(text.encode())
    return text, out.summary["gaps"]


class Reader(HTMLParser):
    """Collects what a browser would see, and checks that tags close in order."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self.labels: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        self.labels += [value or "" for name, value in attrs if name == "aria-label"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_a_whole_night_leaves_no_gap(finished: RunFolder, tmp_path: Path) -> None:
    history = [
        MetricPoint(i, AS_OF - timedelta(days=7 - i), model, 0.1 * i, 0.1 * i - 0.05, None, i == 3)
        for i in (3, 5, 7)
        for model in ("item_knn", POPULAR)
    ]
    past = [Publication(7, "publish", AS_OF, None, False, "airflow", "newest as_of")]
    text, gaps = write(finished, tmp_path, facts(metric_history=history, publications=past))
    page = Reader(text)
    assert gaps == []
    assert page.tags["svg"] == 4  # metric, nights, popularity, timings: item_knn has no epochs
    assert "Readers see this run's lists." in page.words
    assert "item_knn is fitted in closed form" in page.words
    assert "validate.nulls ! warned" in page.words
    assert "nulls 3" in page.words
    assert "recjobs run --as-of 2026-02-01" in page.words
    assert "User newcomer · 0 interactions" in page.words  # the one who gets the fallback
    assert any(
        label.startswith("ndcg@10 by model, with intervals: item_knn 0.") for label in page.labels
    )


def test_nothing_is_fetched_and_nothing_runs(finished: RunFolder, tmp_path: Path) -> None:
    text, _ = write(finished, tmp_path, facts())
    names = Counter(name for name, _ in Reader(text).attributes)
    assert not {"src", "srcset", "action", "background"} & set(names)
    assert not [name for name in names if name.startswith("on")]
    assert not re.findall(r"@import|url\((?!#)", text)
    for name, value in Reader(text).attributes:
        if name.endswith("href"):
            assert value == "data:," or (value or "").startswith("#")


def test_ids_are_unique_and_references_resolve(finished: RunFolder, tmp_path: Path) -> None:
    history = [MetricPoint(7, AS_OF, "item_knn", 0.1)]
    text, _ = write(finished, tmp_path, facts(metric_history=history))
    attributes = Reader(text).attributes
    ids = Counter(value for name, value in attributes if name == "id")
    referred = {value for name, value in attributes if name == "aria-labelledby"}
    referred |= {v[1:] for n, v in attributes if n.endswith("href") and v and v.startswith("#")}
    referred |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert referred <= set(ids)
    assert {i: n for i, n in ids.items() if n > 1} == {}


def test_every_value_is_escaped(finished: RunFolder, tmp_path: Path) -> None:
    hostile = facts(
        status="failed",
        error=f"DataError: {HOSTILE}",
        stage=HOSTILE,
        model=HOSTILE,
        rule=HOSTILE,
        host=HOSTILE,
        code_version=HOSTILE,
        settings_hash=HOSTILE,
        overrides={HOSTILE: HOSTILE},
        timings={"publish": 1.0, HOSTILE: 1.0},
        metric_history=[MetricPoint(7, AS_OF, f"{HOSTILE} $x_1$ {i}", 0.1) for i in range(2)],
        publications=[Publication(7, "rollback", AS_OF, AS_OF, True, HOSTILE, HOSTILE)],
    )
    text, gaps = write(finished, tmp_path, hostile)
    page = Reader(text)
    assert gaps == []
    assert page.tags["script"] == 0
    assert "<script" not in text
    assert f'{HOSTILE} & "Title"' in page.words
    assert "$x_1$" in page.words  # not read as mathematics
    assert not [name for name, _ in page.attributes if name.startswith("on")]


@pytest.mark.parametrize("reached", range(len(STAGES)))
def test_a_failed_night_says_where_and_why(
    finished: RunFolder, tmp_path: Path, reached: int
) -> None:
    folder = part_of(finished, tmp_path, STAGES[:reached])
    failed = facts(
        status="failed", stage=STAGES[reached], error="DatabaseError: the line was cut",
        decision=None, rule=None, published_source=None, live_run_id=6,
        timings={STAGES[reached]: 2.5},
    )  # fmt: skip
    text, gaps = write(folder, tmp_path, failed)
    page = Reader(text)
    assert f"✗ Failed in stage {STAGES[reached]} the line was cut" in page.words
    assert "Readers see the lists of run 6, as before." in page.words
    assert "a retry resumes the run" in page.words  # what its class in the error tree says
    assert "To resume this night: recjobs run --as-of 2026-02-01" in page.words
    done = set(STAGES[:reached])
    assert ("quality" in gaps) == ("evaluate" not in done)
    assert ("lists" in gaps) == ("score" not in done)
    assert ("samples" in gaps) == ("score" not in done)
    assert ("training" in gaps) == ("train" not in done)
    assert ("rejected" in gaps) == ("validate" not in done)
    if gaps:
        assert f"did not finish (the night ended in stage {STAGES[reached]})" in page.words


def test_a_broken_file_costs_its_part_alone(
    finished: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = part_of(finished, tmp_path, STAGES)
    Path(folder.url, "score").unlink()
    with folder.writing("score") as out:
        (out.folder / "lists.parquet").write_bytes(b"not Parquet")
    text, gaps = write(folder, tmp_path, facts())
    assert gaps == ["lists", "samples", "popularity"]
    assert "This part could not be made. ArrowInvalid" in Reader(text).words
    assert "Traceback" in caplog.text  # of what no error of ours explains


def test_a_damaged_file_is_one_line_of_the_log(
    finished: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = part_of(finished, tmp_path, STAGES)
    score = Path(folder.url, "score")
    files = score.resolve()
    score.unlink()
    shutil.copytree(files, score)
    (score / "lists.parquet").write_bytes(b"not what score wrote")
    text, gaps = write(folder, tmp_path, facts())
    assert gaps == ["lists", "samples", "popularity"]
    assert "lists.parquet is not what stage score wrote" in Reader(text).words
    assert "lists.parquet is not what stage score wrote" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_lost_store_still_leaves_a_page(tmp_path: Path) -> None:
    text, gaps = write(
        RunFolder(str(tmp_path / "gone"), 7), tmp_path,
        facts(status="failed", stage="extract", error=None),
    )  # fmt: skip
    assert {"quality", "lists", "rejected", "training"} <= set(gaps)
    page = Reader(text)
    assert "No reason was recorded" in page.words
    assert "No stage has finished." in page.words
    assert "No night has been evaluated yet." in page.words


def test_training_history_is_drawn(finished: RunFolder, tmp_path: Path) -> None:
    folder = part_of(finished, tmp_path, STAGES)
    Path(folder.url, "train").unlink()
    epochs = [
        {"epoch": i, "loss": 1 / i, "validation": None if i == 3 else 0.1 * i} for i in (1, 2, 3)
    ]
    with folder.writing("train") as out:
        history = {"epochs": epochs, "best_epoch": 2, "metric": "ndcg@10"}
        write_json(out.folder / "history.json", history)
    text, gaps = write(folder, tmp_path, facts())
    told = "Training over 3 epochs: loss from 1 to 0.3333, validation ndcg@10 from 0.1000 to 0.2000"
    assert gaps == []
    assert f"{told}; best epoch 2." in Reader(text).labels


def test_of_a_blend_the_page_says_what_was_chosen(
    finished: RunFolder, log: Interactions, tmp_path: Path
) -> None:
    folder = part_of(finished, tmp_path, STAGES)
    Path(folder.url, "train").unlink()
    job = settings(model={"name": "blend", "params": {"models": {"item_knn": {}, "popular": {}}}})
    with folder.writing("train") as out:
        train(log, split(log, job.holdout, MICROSECONDS), job, out, silent)
        weights = out.summary["choices"]["weights"]
    text, gaps = write(folder, tmp_path, facts(model="blend"), job)
    told = f"weights: item_knn {weights['item_knn']:.2f}, popular {weights['popular']:.2f}."
    assert gaps == []
    assert f"trained each by itself. The validation part chose: {told}" in Reader(text).words
    assert "closed form" not in text


def test_choices_in_words() -> None:
    found = {"weights": {"ease": 0.624, "mf": 0.376}, "epochs": {"ease": None, "mf": 12}}
    told = "weights: ease 0.62, mf 0.38; epochs: mf 12"
    assert choices(found) == told
    assert choices(found | {"reranker": {"layers": [[0.5]]}}) == f"{told}; reranked by a network"
    assert choices({}) == ""


@pytest.mark.parametrize(
    ("changes", "mood", "title", "says"),
    [
        ({}, "good", "Live", "Readers see this run's lists."),
        ({"decision": "undecided"}, "warn", "Live", "Readers see this run's lists."),
        ({"status": "held", "live_run_id": 6}, "bad", "Held by the gate", "lists of run 6"),
        ({"status": "held", "live_run_id": None}, "bad", "Held by the gate", "Nothing is live"),
        ({"status": "dry_run", "live_run_id": 6}, "plain", "Dry run", "lists of run 6"),
        ({"live_run_id": 9}, "plain", "Stored, not live", "lists of run 9"),
        ({"published_source": POPULAR, "decision": "hold"}, "warn", "Popularity", "popularity"),
        ({"status": "running", "stage": "score"}, "plain", "Still running: stage score", "lists"),
        ({"status": "running", "stage": "score", "killed": True}, "bad", "Stopped in", "lists"),
        ({"status": "failed", "error": "KeyError: 'x'"}, "bad", "Failed in stage", "lists"),
    ],
)  # fmt: skip
def test_headline(changes: dict[str, Any], mood: str, title: str, says: str) -> None:
    said = headline(facts(**changes), settings())
    assert said.mood == mood
    assert title in said.title
    assert says in said.readers


def test_an_error_that_is_not_known_is_not_said_to_be() -> None:
    said = headline(facts(status="failed", error="OSError: [Errno 28] No space left"), settings())
    assert "An error that recjobs does not know (exit code 1)" in " ".join(said.advice)
    assert "OSError: [Errno 28] No space left" in said.why


def test_headline_of_a_run_with_overrides_asks_for_a_promotion() -> None:
    said = headline(facts(overrides={"model.name": "ease"}, live_run_id=6), settings())
    assert "(model.name) goes live only when it is promoted" in said.advice[0]
    assert said.commands[0].line == "recjobs promote 7 --why '…'"


def test_as_of_is_a_date_at_midnight_of_the_job_alone() -> None:
    paris = settings(job={"name": "shop", "timezone": "Europe/Paris"})
    assert as_of_argument(datetime(2026, 6, 30, 22, tzinfo=UTC), paris) == "2026-07-01"
    assert as_of_argument(AS_OF, paris) == "2026-02-01T01:00:00+01:00"
    twice = settings(job={"name": "shop", "timezone": "Atlantic/Azores"})
    for hour in (0, 1):  # that day has two midnights
        midnight = datetime(2016, 10, 30, hour, tzinfo=UTC)
        assert parse_as_of(as_of_argument(midnight, twice), "Atlantic/Azores") == midnight


def test_commands_are_safe_to_paste(finished: RunFolder, tmp_path: Path) -> None:
    overrides = {"feedback.exclude_seen": "view; rm -rf /", "score.n": 5}
    text, _ = write(finished, tmp_path, facts(overrides=overrides))
    words = Reader(text).words
    assert "--set 'feedback.exclude_seen=view; rm -rf /' --set score.n=5" in words
    shown = re.search(r"recjobs show '(.*?)[0-9]{2}' ", words)
    assert shown is not None
    assert shown[1] == HOSTILE.replace("'", "'\"'\"'")


@pytest.mark.parametrize("user", ["-abc", "--json", "-5", "ann's", "$(x) --"])
def test_the_user_to_show_is_no_option(user: str) -> None:
    (line,) = [c.line for c in reproduction(facts(), settings(), user) if " show " in c.line]
    assert build_parser().parse_args(shlex.split(line)[1:]).user == user


@pytest.mark.parametrize("status", ["failed", "dry_run"])
def test_commands_give_the_same_run_again(status: str) -> None:
    overrides = {
        "feedback.event_weights": {"add to cart": 2.5, "buy": 1.0},
        "feedback.exclude_seen": "2",
        "model.params": {"models": {"ease": {"l2": 2.0}, "popular": {}}},
        "score.n": 5,
    }
    of = facts(status=status, stage="train", dry_run=True, overrides=overrides)
    lines = [command.line for command in reproduction(of, settings(), None)[:2]]
    if status == "failed":
        (resume,) = headline(of, settings()).commands
        assert resume.line == lines[0]
    for line in lines:
        words = shlex.split(line)
        assert words[:4] == ["recjobs", "run", "--as-of", "2026-02-01"]
        assert "--dry-run" in words
        given = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        assert overrides_of(given) == overrides


def test_commands_of_a_failed_night_of_bad_data_extract_again() -> None:
    of = facts(status="failed", error="DataError: no rows", overrides={"score.n": 5})
    (command,) = headline(of, settings()).commands
    assert command.line == "recjobs run --as-of 2026-02-01 --set score.n=5 --fresh"


def test_popularity_lists_in_the_place_of_a_held_model_are_not_promoted() -> None:
    popular = {"published_source": POPULAR, "decision": "hold"}
    said = headline(facts(**popular), settings())
    assert [command.line for command in said.commands] == [
        "recjobs run --as-of 2026-02-01 --fresh --dry-run"
    ]
    assert "This run has no lists of the model" in said.advice[0]
    lines = [command.line for command in reproduction(facts(**popular), settings(), None)]
    assert not [line for line in lines if "promote" in line]
    dry = headline(facts(**popular, status="dry_run", dry_run=True), settings())
    assert dry.commands[0].line == "recjobs promote 7 --why '…'"


def test_lists_are_counted_as_a_loop_would(finished: RunFolder, log: Interactions) -> None:
    path = finished.path("score", "lists.parquet")
    rows = pq.read_table(path).to_pylist()
    found = read_lists([path], log, 5)
    shown = Counter(item for row in rows for item in row["item_ids"][:5])
    assert dict(enumerate(found.shown.tolist())) == {i: shown[i] for i in range(30)}
    first = Counter(row["sources"][0] if row["sources"] else "none" for row in rows)
    assert found.users_by_source == first
    assert found.users == len(rows) == 41
    assert found.entries_by_source == Counter(s for row in rows for s in row["sources"][:5])
    assert all(len(sample["item_ids"]) == 5 for sample in found.samples)
    assert len(found.samples) == 4  # three histories and the fallback


def test_blocks_of_any_size_count_the_same(
    finished: RunFolder, log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished.path("score", "lists.parquet")
    whole = read_lists([path], log, 5)
    monkeypatch.setattr("recjobs.report.lists._BLOCK_ROWS", 3)
    small = read_lists([path], log, 5)
    assert np.array_equal(whole.shown, small.shown)
    assert dataclasses.replace(whole, shown=small.shown) == small


def test_short_and_empty_lists_are_told_with_their_reason(
    log: Interactions, finished: RunFolder, tmp_path: Path
) -> None:
    ids = log.users.ids.to_pylist()
    ids_of_items = pa.list_(pa.int64())
    rows = pa.table(
        {
            "user_id": ids,
            "item_ids": pa.array([[] if u == ids[0] else [1, 2] for u in ids], ids_of_items),
            "scores": [[] if u == ids[0] else [2.0, 1.0] for u in ids],
            "sources": [[] if u == ids[0] else ["ease", POPULAR] for u in ids],
            "because_item_ids": pa.array(
                [[] if u == ids[0] else [3, None] for u in ids], ids_of_items
            ),
            "because_features": [[] if u == ids[0] else ["kind=Crime", None] for u in ids],
            "reason": ["nothing left"] + ["only 2 of 5"] * 40,
        }
    )
    pq.write_table(rows, tmp_path / "lists.parquet")
    found = read_lists([tmp_path / "lists.parquet"], log, 5)
    assert found.users_by_source == {"ease": 40, "none": 1}
    assert found.short == {"only 2 of 5": 40, "nothing left": 1}
    samples = sample_lists(found, log, finished.path("extract", "items.parquet"), UTC)
    whole = next(sample for sample in samples if sample.entries)
    assert [entry.because for entry in whole.entries] == [
        f'{HOSTILE} & "Title" 3: kind=Crime',
        "",
    ]
    assert whole.history[0].note == f"buy {HOSTILE}"


def test_an_item_without_a_title_goes_by_its_id(finished: RunFolder, log: Interactions) -> None:
    lists = read_lists([finished.path("score", "lists.parquet")], log, 5)
    row = {**lists.samples[0], "item_ids": [0], "scores": [1.0], "sources": ["x"],
           "because_item_ids": [None], "because_features": None}  # fmt: skip
    one = dataclasses.replace(lists, samples=[row])
    sample = sample_lists(one, log, finished.path("extract", "items.parquet"), UTC)[0]
    assert (sample.entries[0].title, sample.entries[0].item_id) == ("item 0", "0")


def test_popularity_curves_cumulate_over_the_most_consumed_first() -> None:
    share, curves = popularity_curves(np.array([1, 5, 4, 0]), np.array([0, 9, 0, 1]))
    assert share == [0.25, 0.5, 0.75, 1.0]
    assert curves["consumed"] == pytest.approx([0.5, 0.9, 1.0, 1.0])
    assert curves["recommended"] == pytest.approx([0.9, 0.9, 0.9, 1.0])


def test_plots_tell_their_figures_in_words() -> None:
    dots = by_model("ndcg@10", {"a": Estimate(0.1), "b": Estimate(0.2, 0.15, 0.25)}, "a")
    assert dots.alt == "ndcg@10 by model, with intervals: b 0.2000 (0.1500 to 0.2500); a 0.1000."
    nights = [Night(datetime(2026, 1, day), Estimate(0.1 * day), day > 1) for day in (1, 2)]
    assert "a: 2026-01-01 0.1000, 2026-01-02 0.2000" in over_nights("mrr", {"a": nights}, "a").alt
    assert timings({"extract": 0.5, "train": 70.0}, "train").alt == (
        "Time by stage: extract 0.50 s, train 70.0 s."
    )


def test_plots_take_their_colours_from_the_page() -> None:
    svg = str(timings({"extract": 1.0}, None).svg)
    assert "var(--first)" in svg
    assert "font-size: 9.5px" in svg
    assert not re.findall(r"#0102\w\w|font-family|font:|<\?xml|<metadata", svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.1235"),
        (12.0, "12"),
        (1234567, "1,234,567"),
        (0.0001234, "0.00012"),
        (None, "–"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.40 s"), (12.34, "12.3 s"), (245.2, "4 min 05 s"), (7260, "2 h 01 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_page_knows_every_stage_of_the_night() -> None:
    from recjobs.stages import WORK

    assert (*page_module._STAGES, "report") == tuple(WORK)


def test_the_same_run_gives_the_same_page(finished: RunFolder, tmp_path: Path) -> None:
    sums = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(finished, tmp_path / name, facts())
        sums.append(file_sha256(tmp_path / name / "report.html"))
    assert sums[0] == sums[1]
