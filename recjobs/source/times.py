"""A time column of any kind: timestamptz, timestamp, date, epoch seconds or milliseconds.

``as_of`` is converted to the column, never the column to ``as_of``, so that an index on the column
serves. Only then is the column read as an instant, by the summer time rules that Postgres has.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from psycopg2 import sql

from recjobs.errors import ConfigError
from recjobs.source.catalog import Column, Relation

TimeKind = Literal["timestamptz", "timestamp", "date", "s", "ms"]

#: Times are clamped to these: what lies outside (infinities, years before Christ) is absurd anyway,
#: and has no place in the 64 bits of a microsecond timestamp or in Python's datetime.
FIRST: Final = datetime(1, 1, 2)
LAST: Final = datetime(9999, 12, 30)

#: More than clocks were ever changed by: islands have crossed the date line.
_CLOCK_CHANGE: Final = timedelta(days=2)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = {"s": 1, "ms": 1000}
_KINDS: Final[dict[str, TimeKind]] = {
    "timestamp with time zone": "timestamptz",
    "timestamp without time zone": "timestamp",
    "date": "date",
}


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """A time column and what its values mean.

    Attributes:
        column: The column.
        kind: Its type, or for an integer the unit since the epoch.
        zone: The time zone of a timestamp's or a date's values.
    """

    column: Column
    kind: TimeKind
    zone: str = "UTC"

    @classmethod
    def of(cls, relation: Relation, key: str, name: str, *, unit: str, zone: str) -> TimeColumn:
        """Look at the column that the setting ``key`` names.

        Args:
            relation: Where it is.
            key: The setting that names it.
            name: Its name.
            unit: ``source.time_unit``.
            zone: ``source.source_timezone``.

        Raises:
            ConfigError: There is no such column, its type holds no time, or the unit or the time
                zone that its type needs is not set.
        """
        column = relation.column(key, name)
        where = f"{relation.setting}.{key}: column {name} of {relation.label} is {column.type}"
        if column.type in ("bigint", "integer"):
            if unit not in _PER_SECOND:
                raise ConfigError(
                    f'{where}, so source.time_unit must say what it counts since 1970: "s" or "ms"'
                )
            return cls(column, "s" if unit == "s" else "ms")
        if column.type not in _KINDS:
            raise ConfigError(
                f"{where}. Expected timestamptz, timestamp, date, or bigint or integer (epoch "
                "seconds or milliseconds). Cast it in a view or an SQL file (source.sql_file)."
            )
        kind = _KINDS[column.type]
        if kind == "timestamp" and not zone:
            raise ConfigError(
                f"{where}, so source.source_timezone must say in which time zone its values are, "
                'such as "UTC" or "Europe/Paris"'
            )
        return cls(column, kind, zone or "UTC")

    def before(self, as_of: datetime, since: datetime | None = None) -> sql.Composable:
        """Return the condition that the column lies before an instant, or is null.

        Args:
            as_of: The instant.
            since: Where given, the column must not lie before this one either.
        """
        condition = self.earlier(as_of)
        if since is not None:
            condition = sql.SQL("{} and {}").format(condition, self._not_earlier(since))
        if self.column.not_null:
            return condition
        return sql.SQL("({}) or {} is null").format(condition, self.column.sql)

    def earlier(self, than: datetime) -> sql.Composable:
        """Return the condition that the column lies before an instant; null does not.

        The comparison is with a constant of the column's own type. Where clocks go back, the local
        time of the instant comes twice and lets up to an hour too much through: a second
        comparison, of instants, takes that out.
        """
        condition = sql.SQL("{} < {}").format(self.column.sql, sql.Literal(self._bound(than)))
        if not self._local:
            return condition
        return sql.SQL("{} and {} < {}").format(condition, self.instant(), sql.Literal(than))

    def _not_earlier(self, than: datetime) -> sql.Composable:
        """Return the opposite of `earlier`, to the row.

        Where clocks are changed a later local time may be an earlier instant: the comparison that
        an index serves is loose by more than any such change, the one of instants is exact.
        """
        if not self._local:
            return self.since(than)
        return sql.SQL("{} and {} >= {}").format(
            self.since(than - _CLOCK_CHANGE), self.instant(), sql.Literal(than)
        )

    def since(self, instant: datetime) -> sql.Composable:
        """Return the condition that the column does not lie before an instant."""
        return sql.SQL("{} >= {}").format(self.column.sql, sql.Literal(self._bound(instant)))

    def instant(self) -> sql.Composable:
        """Return the column as timestamptz; for an epoch as bigint microseconds."""
        if self.kind == "timestamptz":
            return self.column.sql  # whoever reads it clamps it, for less than the server would
        clamped = self._clamped()
        if self.kind in _PER_SECOND:
            return sql.SQL("({})::bigint * {}").format(
                clamped, sql.Literal(1_000_000 // _PER_SECOND[self.kind])
            )
        return sql.SQL("({})::timestamp at time zone {}").format(clamped, sql.Literal(self.zone))

    @property
    def _local(self) -> bool:
        return self.kind in ("timestamp", "date")

    def _bound(self, as_of: datetime) -> datetime | date | int:
        if self.kind in _PER_SECOND:
            # An integer is below a fraction exactly where it is below the next whole number.
            micros = (as_of - _EPOCH) // timedelta(microseconds=1)
            return -(-micros * _PER_SECOND[self.kind] // 1_000_000)
        if self.kind == "timestamptz":
            return as_of
        local = as_of.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        if self.kind == "timestamp":
            return local
        # A date is 00:00 of its day: today's is before any later time of today.
        return local.date() + timedelta(days=local.time() > time.min)

    def _clamped(self) -> sql.Composable:
        low, high = (sql.Literal(self._limit(limit)) for limit in (FIRST, LAST))
        return sql.SQL(
            "case when {c} < {low} then {low} when {c} > {high} then {high} else {c} end"
        ).format(c=self.column.sql, low=low, high=high)

    def _limit(self, limit: datetime) -> datetime | date | int:
        if self.kind in _PER_SECOND:
            return int(limit.replace(tzinfo=UTC).timestamp()) * _PER_SECOND[self.kind]
        return limit.date() if self.kind == "date" else limit
