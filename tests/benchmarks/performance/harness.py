"""Timing by turns, and what comes of it: a row of a table, a page.

Machines differ, and a shared one differs from minute to minute: contenders take turns, ratios are
taken within a turn, and what is told is their median with the least and the greatest.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Target = tuple[Literal["≥", "≤"], float]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        stage: Which stage of the night.
        ours: What of ours was measured.
        against: What it was measured against.
        ratio: With a target of at least (or none), how many times as fast as the other, or
            which share of its rate; with one of at most, how many times its time or its bytes.
        low: The least of the turns.
        high: The greatest of the turns.
        target: What is to be reached; None where a row only informs.
        note: What a reader must know to judge it.
    """

    stage: str
    ours: str
    against: str
    ratio: float
    low: float
    high: float
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        sign, value = self.target
        return self.ratio >= value if sign == "≥" else self.ratio <= value


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds of each contender, one of each turn."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """Return a contender's median seconds."""
        return statistics.median(self.seconds[name])

    def row(
        self, stage: str, ours: str, against: str, target: Target | None = None, note: str = ""
    ) -> Row:
        """Return the comparison of two contenders, turn by turn."""
        turns = zip(self.seconds[ours], self.seconds[against], strict=True)
        less = target is not None and target[0] == "≤"
        ratios = [mine / theirs if less else theirs / mine for mine, theirs in turns]
        told = f"{self.median(ours):.3g} s, {self.median(against):.3g} s"
        note = f"{told}; {note}" if note else told
        return Row(
            stage, ours, against, statistics.median(ratios), min(ratios), max(ratios), target, note
        )


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    before: Mapping[str, Callable[[], object]] | None = None,
    warm: bool = True,
) -> Timings:
    """Time contenders by turns.

    Args:
        contenders: What to time, by name.
        repeats: Turns that count.
        before: What to do before a contender of that name, untimed: an empty table, say.
        warm: Whether one turn goes before, and does not count: it compiles, and fills caches.
    """
    before = before or {}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(0 if warm else 1, repeats + 1):
        # Every other turn backwards: nobody always comes after the same one.
        for name in contenders if turn % 2 else reversed(contenders):
            if name in before:
                before[name]()
            started = time.perf_counter()
            contenders[name]()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return Timings(seconds)


def peak_bytes(
    function: Callable[..., Any], *args: object, loads: Callable[..., object] | None = None
) -> tuple[int, Any]:
    """Run a function of a module in a process of its own.

    Args:
        function: What is measured.
        args: What it takes.
        loads: Run before, with the same arguments: it loads the code that the function uses, for
            compiled loops are loaded when they are first called.

    Returns:
        By how many bytes its resident memory rose at most, above what it was when the function's
        code was loaded, and what it returned (small, for it is sent back).
    """
    return apart(_measured, function, args, loads)


def apart(function: Callable[..., Any], *args: object) -> Any:
    """Run a function of a module in a process of its own, and return what it returns."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *args).result()


def _measured(
    function: Callable[..., Any], args: tuple[object, ...], loads: Callable[..., object] | None
) -> tuple[int, Any]:
    if loads is not None:
        loads(*args)
    resident = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is resident
    result = function(*args)
    return _status("VmHWM") - resident, result


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: expected {name}")
