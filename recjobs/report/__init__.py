"""The report: one self-contained HTML page per run, made after a failure too."""

from recjobs.report.facts import MetricPoint, Publication, ReportFacts
from recjobs.report.page import report

__all__ = ["MetricPoint", "Publication", "ReportFacts", "report"]
