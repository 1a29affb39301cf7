"""What a night takes from the parts that are kept, and what it leaves in them.

A night reads anew its last days, in which rows still come late, and takes the days before them from
the parts. Every so many nights it reads everything, and holds the parts against it. A night older
than what is kept takes what lies before it, and changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from recjobs.config import SourceSettings
from recjobs.source.log import Log
from recjobs.source.parts import Kept, Part, Parts, day_name

_logger = logging.getLogger(__name__)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
#: Days that are passed on as one table: what follows costs as much for a small one.
_TOGETHER: Final = 32


@dataclass(slots=True)
class Reuse:
    """One night's dealings with the parts.

    Attributes:
        parts: Where they are.
        turn: The night's turn at writing.
        origin: Of what the night reads.
        until: The first day that the night does not keep: rows may still come late in it.
        kept: What is kept of the same origin; None where nothing is.
        days: The parts that are reused; none in a night that reads everything.
        why_full: Why it reads everything; empty where it does not.
        changed: Days whose kept parts were not what the source has.
    """

    parts: Parts
    turn: str
    origin: str
    until: int
    kept: Kept | None
    days: dict[int, Part] = field(default_factory=dict)
    why_full: str = ""
    changed: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls, parts: Parts, origin: str, as_of: datetime, settings: SourceSettings, *, fresh: bool
    ) -> Reuse:
        """Decide what is reused.

        Args:
            parts: Where the parts are.
            origin: Of what is read, and of what reads it.
            as_of: Aware.
            settings: Which nights read everything, and which days rows may come late in.
            fresh: Whether the night was asked to read everything.
        """
        turn = parts.take_turn()  # before the look at what is kept: what others then write counts
        today = (as_of - _EPOCH) // timedelta(days=1)
        until = today - settings.late_days
        kept = parts.kept()
        if kept is not None and kept.origin != origin:
            why, kept = "the source, its settings or a version of the software are not those", None
        elif kept is None:
            why = "nothing is kept yet"
        elif fresh:
            why = "the run is a fresh one"
        elif until > kept.until and kept.nights + 1 >= settings.full_every:
            why = f"one night in {settings.full_every} does (source.full_every)"
        elif not (days := kept.before(until)):
            why = "no kept day lies before its window"
        else:
            return cls(parts, turn, origin, until, kept, days)
        return cls(parts, turn, origin, until, kept, why_full=why)

    @property
    def since(self) -> datetime | None:
        """From when on the source is read; None for everything."""
        if self.kept is None or not self.days:
            return None
        return _EPOCH + timedelta(days=min(self.until, self.kept.until))

    @property
    def rows(self) -> int:
        """How many interactions are reused."""
        return sum(part.rows for part in self.days.values())

    def give_up(self, why: str) -> None:
        """Read everything after all."""
        _logger.warning("the kept days are not reused, the source is read in full: %s", why)
        self.days, self.why_full = {}, why

    def start_over(self, why: str) -> None:
        """Forget what is kept, for it is damaged, and read everything."""
        self.give_up(why)
        self.parts.drop()
        self.kept, self.turn = None, self.parts.take_turn()

    def tables(self) -> Iterator[pa.Table]:
        """Yield the reused interactions, in order, some days at a time.

        Raises:
            DamagedPartError: A part is missing, or is not what was kept.
        """
        days = self.parts.read(self.days)
        while some := [rows for _, rows in islice(days, _TOGETHER)]:
            yield pa.concat_tables(some)

    def keep(self, log: Log, schema: pa.Schema) -> None:
        """Keep the days that were read, where they are more or newer than those that are kept.

        No night fails for want of room for the next ones: what can't be kept is told.
        """
        try:
            self._keep(log, schema)
        except OSError as error:
            _logger.warning("the days that were read could not be kept: %s", error)

    def _keep(self, log: Log, schema: pa.Schema) -> None:
        if self.days and self.kept is not None:
            if self.until > self.kept.until:
                read = self._put(log, schema)
                self._commit({**self.kept.days, **read}, self.until, self.kept.nights + 1)
            return
        known = self.kept or Kept(self.origin, self.until, 0, {})
        read, both = self._put(log, schema), min(self.until, known.until)
        self.changed = sorted(
            day
            for day in known.before(both).keys() | {day for day in read if day < both}
            if self.kept and known.days.get(day) != read.get(day)
        )
        later = {day: part for day, part in known.days.items() if day >= self.until}
        nights = 0 if self.until >= known.until else known.nights
        self._commit({**read, **later}, max(self.until, known.until), nights)
        self._tell()

    def _put(self, log: Log, schema: pa.Schema) -> dict[int, Part]:
        known = self.kept.days if self.kept else {}
        days = log.days(self.until, schema)
        return {day: self.parts.put(day, rows, known.get(day)) for day, rows in days}

    def _commit(self, days: dict[int, Part], until: int, nights: int) -> None:
        if not self.parts.commit(Kept(self.origin, until, nights, days), self.turn):
            _logger.warning("another run or an erasure came between: this night keeps nothing")

    def summary(self) -> dict[str, Any]:
        """Return what the run says of the parts that it used."""
        days = sorted(self.days)
        return {
            "full": not days,
            "why_full": self.why_full,
            "reused": len(days),
            "reused_rows": self.rows,
            "from": day_name(days[0]) if days else None,
            "to": day_name(days[-1]) if days else None,
            "changed_days": [day_name(day) for day in self.changed],
        }

    def note(self) -> str:
        """Return the summary as the end of a line that counts interactions."""
        if not self.days:
            return f", read in full: {self.why_full}"
        return f", {self.rows:,} of them from {len(self.days):,} kept days"

    def used(self) -> Mapping[str, str]:
        """Return the SHA-256 of each part that is reused, by day."""
        return {day_name(day): part.sha256 for day, part in sorted(self.days.items())}

    def _tell(self) -> None:
        if self.changed:
            _logger.warning(
                "%d days of the source are not what earlier nights had read (%s): rows were "
                "changed or deleted, or came later than source.late_days",
                len(self.changed),
                _few(self.changed),
            )


def _few(days: list[int]) -> str:
    shown = ", ".join(map(day_name, days[:5]))
    return f"{shown}, …" if len(days) > 5 else shown
