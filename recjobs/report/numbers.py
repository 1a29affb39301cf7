"""Numbers of the report as people read them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, if it has one."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return fixed(self.value)
        return f"{fixed(self.value)} ({fixed(self.low)} to {fixed(self.high)})"


def number(value: float | None) -> str:
    """Return a number as people read it: four significant digits, thousands separated."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 else f"{value:.2g}"


def fixed(value: float) -> str:
    """Return a metric with as many decimals as its neighbours have: four."""
    return f"{value:.4f}" if abs(value) < 100 else number(value)


def duration(seconds: float) -> str:
    """Return a duration as people read it: ``0.42 s``, ``12.3 s``, ``4 min 05 s``."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
