"""Instants: what a text means as one, the nights of a range, microseconds since the epoch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from recjobs.errors import ConfigError


def zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ValueError: There is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"there is no time zone {name!r} (expected one like Europe/Paris)"
        ) from error


def parse_as_of(text: str, timezone: str) -> datetime:
    """Return the instant that a date or an ISO 8601 time means, in UTC.

    A bare date is 00:00 in the job's time zone, and so is a time without an offset.

    Raises:
        ConfigError: The text is neither.
    """
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=zone(timezone))
        return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"as_of: expected a date (2016-10-17) or an ISO 8601 time. Received: {text!r}"
        ) from error


def nights(since: datetime, until: datetime, timezone: str) -> Iterator[datetime]:
    """Give the as_of of every night in ``[since, until)``, a day apart in the job's time zone."""
    local = since.astimezone(zone(timezone))
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if midnight.astimezone(UTC) == since.astimezone(UTC):
        local = midnight  # where the clocks leave it out, that day alone begins later
    while local.astimezone(UTC) < until:
        yield local.astimezone(UTC)
        # Wall-clock arithmetic in the zone: a night stays at 00:00 over a change of the clocks.
        local += timedelta(days=1)


def microseconds(instant: datetime) -> int:
    """Return an aware time as microseconds since the epoch, exactly."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
