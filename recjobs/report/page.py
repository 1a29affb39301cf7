"""Write the page: gather what the stages left, fill the template."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from recjobs.artifacts import Manifest, RunFolder, StageOutput
from recjobs.columns import POPULAR, WARM_START
from recjobs.config import Settings
from recjobs.dataset import Interactions
from recjobs.errors import ConfigError, RecJobsError
from recjobs.files import read_json
from recjobs.report import plots
from recjobs.report.facts import MetricPoint, ReportFacts
from recjobs.report.figures import choices, figures, identity, instant, percent
from recjobs.report.headline import as_of_argument, headline, reproduction
from recjobs.report.lists import Scored, popularity_curves, read_lists
from recjobs.report.numbers import Estimate, duration, number
from recjobs.report.quality import Quality, read_quality
from recjobs.report.samples import Sample, sample_lists

Part = TypeVar("Part")
_log = logging.getLogger(__name__)
#: In the order of the night.
_STAGES: Final = (
    "extract", "validate", "index", "train", "evaluate", "gate", "refit", "score", "check",
    "publish",
)  # fmt: skip


def report(facts: ReportFacts, settings: Settings, folder: RunFolder, out: StageOutput) -> None:
    """Write ``report.html``, one self-contained page on the run, whatever stage it got to.

    A stage that did not finish leaves a gap that the page names; it never makes this fail.

    Args:
        facts: What the database knows of the run.
        settings: The job's settings, with the run's overrides applied.
        folder: The run's artifacts.
        out: Takes ``report.html``; its summary gets ``bytes`` and ``gaps``, the names of the
            parts that the page has to do without.
    """
    page = _Page(facts, settings, folder)
    text = _environment().get_template("page.html.j2").render(page.content())
    (out.folder / "report.html").write_text(text, encoding="utf-8")
    out.summary = {"bytes": len(text.encode()), "gaps": page.gaps}


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that the page has to do without, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class _Training:
    plot: plots.Plot | None  # none of a model without epochs of its own
    chosen: str  # of a blend, what its validation part chose, in words
    model: str
    epochs: int
    start: str  # where it started, in a sentence
    warm: bool


class _Page:
    """Gathers the parts of one run's page; each by itself, so that one may be missing."""

    def __init__(self, facts: ReportFacts, settings: Settings, folder: RunFolder) -> None:
        self.facts = facts
        self.settings = settings
        self.folder = folder
        self.zone = ZoneInfo(settings.job.timezone)
        self.gaps: list[str] = []

    def content(self) -> dict[str, Any]:
        """Return what the template shows."""
        with ThreadPoolExecutor(1) as pool:
            # Read without the GIL, while plots are drawn.
            self._reading = pool.submit(self._read_lists)
            return self._content()

    def _content(self) -> dict[str, Any]:
        facts, settings = self.facts, self.settings
        quality = self._part("quality", ("evaluate",), self._quality)
        lists = self._part("lists", ("index", "score"), lambda: self._scored)
        samples = self._part("samples", ("index", "extract", "score"), self._samples)
        timings = self._part("timings", (), self._timings)
        user = samples[0].user_id if samples and not isinstance(samples, Gap) else None
        return {
            "facts": facts,
            "settings": settings,
            "as_of": as_of_argument(facts.as_of, settings),
            "headline": headline(facts, settings),
            "figures": figures(
                facts, settings, self._summaries, _known(quality), _known(lists), self._seconds
            ),
            "quality": quality,
            "tradeoff": self._part("tradeoff", ("evaluate",), self._tradeoff),
            "training": self._part("training", ("train",), self._training),
            "nights": self._part("nights", (), self._nights),
            "lists": lists,
            "popularity": self._part("popularity", ("index", "score"), self._popularity),
            "samples": samples,
            "outcomes": self._outcomes(),
            "rejected": self._part("rejected", ("validate",), self._rejected),
            "timings": timings,
            "identity": identity(facts, settings, self._summaries.get("extract", {})),
            "commands": reproduction(facts, settings, user),
        }

    def _part(self, name: str, stages: Sequence[str], make: Callable[[], Part]) -> Part | Gap:
        try:
            missing = [stage for stage in stages if not self.folder.finished(stage)]
            if not missing:
                return make()
            gap = Gap(f"Stage {missing[0]} did not finish{self._because()}: nothing to show here.")
        except Exception as error:  # the page tells of a broken night: it must not break on one
            # An error of ours says itself what is wrong, such as a damaged file.
            trace = not isinstance(error, RecJobsError)
            _log.warning("report of run %s, %s: %r", self.facts.run_id, name, error, exc_info=trace)
            gap = Gap(f"This part could not be made. {type(error).__name__}: {error}")
        self.gaps.append(name)
        return gap

    def _because(self) -> str:
        if self.facts.status == "failed":
            return f" (the night ended in stage {self.facts.stage})"
        return " (the gate held the model)" if self.facts.status == "held" else ""

    @cached_property
    def _summaries(self) -> dict[str, dict[str, Any]]:
        return {stage: manifest.summary for stage, manifest in self._manifests.items()}

    @cached_property
    def _seconds(self) -> dict[str, float]:
        known = {**self.facts.timings, **{s: m.seconds for s, m in self._manifests.items()}}
        return {stage: known[stage] for stage in _STAGES if stage in known}

    @cached_property
    def _manifests(self) -> dict[str, Manifest]:
        found = {}
        for stage in _STAGES:
            with suppress(ConfigError, OSError):  # not finished, or out of reach
                found[stage] = self.folder.manifest(stage)
        return found

    @cached_property
    def _interactions(self) -> Interactions:
        names = Interactions.FILES
        return Interactions.load(*(self.folder.path("index", name) for name in names))

    @property
    def _scored(self) -> Scored:
        return self._reading.result()

    def _read_lists(self) -> Scored:
        paths = self.folder.paths("score", "lists.parquet")
        return read_lists(paths, self._interactions, self.settings.score.n)

    def _samples(self) -> list[Sample]:
        items = self.folder.path("extract", "items.parquet")
        return sample_lists(self._scored, self._interactions, items, self.zone)

    def _quality(self) -> Quality:
        rows = self.folder.path("evaluate", "metrics.parquet")
        differences = self.folder.path("evaluate", "differences.json")
        return read_quality(rows, differences, self.settings.gate.metric)

    def _tradeoff(self) -> plots.Plot | None:
        if "tradeoff.json" not in self._manifests["evaluate"].files:
            return None  # lists are not re-ranked
        return plots.tradeoff(read_json(self.folder.path("evaluate", "tradeoff.json")))

    def _training(self) -> _Training:
        history = read_json(self.folder.path("train", "history.json"))
        epochs = history["epochs"]
        start, warm = self._start(), bool(self._summaries["train"].get("warm"))
        if not epochs:
            chosen = choices(self._summaries["train"].get("choices", {}))
            return _Training(None, chosen, self.facts.model, 0, start, warm)
        plot = plots.training(
            [epoch["epoch"] for epoch in epochs],
            [epoch["loss"] for epoch in epochs],
            [epoch["validation"] for epoch in epochs],
            history["metric"],
            history["best_epoch"],
        )
        return _Training(plot, "", self.facts.model, len(epochs), start, warm)

    def _start(self) -> str:
        found, parent = self._summaries["train"], f"run {self.facts.parent_run_id}"
        if found.get("warm"):
            nights = self.facts.warm_nights
            return (
                f"It started from the weights of {parent}: night {nights} since one that was "
                "trained from scratch."
            )
        if found.get("control"):
            return (
                f"It was trained from scratch, as one night in {self.settings.train.cold_every}: "
                f"“{WARM_START}” among the models above is what the weights of {parent} would "
                f"have given, in {duration(found['warm_seconds'])} of training instead of "
                f"{duration(found['fit_seconds'])}."
            )
        if found.get("why_cold"):
            return f"It was trained from scratch, not from the weights of {parent}: " + (
                f"{found['why_cold']}."
            )
        return "It was trained from scratch."

    def _nights(self) -> plots.Plot | None:
        by_model: dict[str, list[plots.Night]] = {}
        for point in self.facts.metric_history:
            by_model.setdefault(point.model, []).append(self._night(point))
        if not by_model:
            return None
        return plots.over_nights(self.settings.gate.metric, by_model, self.facts.model)

    def _night(self, point: MetricPoint) -> plots.Night:
        local = point.as_of.astimezone(self.zone).replace(tzinfo=None)
        return plots.Night(local, Estimate(point.value, point.low, point.high), point.was_live)

    def _popularity(self) -> plots.Plot:
        log = self._interactions
        consumed = np.bincount(log.item_idx, minlength=len(log.items))
        return plots.popularity(*popularity_curves(consumed, self._scored.shown))

    def _outcomes(self) -> list[dict[str, Any]]:
        stages = [self._summaries.get(stage, {}) for stage in ("validate", "check")]
        found = [outcome for stage in stages for outcome in stage.get("outcomes", ())]
        return sorted(found, key=lambda o: 2 if o["passed"] else o["level"] != "stop")

    def _rejected(self) -> dict[str, int]:
        rejected = self._summaries["validate"]["rejected"]
        return {reason: count for reason, count in rejected.items() if count}

    def _timings(self) -> plots.Plot | None:
        failed = self.facts.stage if self.facts.status == "failed" else None
        return plots.timings(self._seconds, failed) if self._seconds else None


def _known(part: Part | Gap) -> Part | None:
    return None if isinstance(part, Gap) else part


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("recjobs.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["gap"] = lambda value: isinstance(value, Gap)
    environment.filters["number"] = number
    environment.filters["minute"] = lambda when: instant(when)[:16]
    environment.filters["percent"] = percent
    environment.globals["POPULAR"] = POPULAR
    return environment
