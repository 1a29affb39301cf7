"""What every section of the settings is, and the types that several of them use."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from recjobs.instants import zone

#: What happens where an expectation does not hold: nothing, a warning, or the night ends.
Level = Literal["off", "warn", "stop"]


class Section(BaseModel):
    """A frozen section of the settings that knows all its keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )


def at_most_one(section: Section, *keys: str) -> None:
    """Refuse a section that has several of these keys.

    Raises:
        ValueError: It has.
    """
    given = [key for key in keys if getattr(section, key)]
    if len(given) > 1:
        raise ValueError(f"give only one of {' and '.join(given)}")


def _date_text(value: Any) -> Any:
    """Return a TOML date, which needs no quotes, as the text that the setting holds."""
    return value.isoformat() if isinstance(value, date) else value


def _known_date(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _known_zone(name: str) -> str:
    zone(name)
    return name


#: An ISO 8601 date or time.
DateText = Annotated[str, BeforeValidator(_date_text), AfterValidator(_known_date)]
#: The name of a time zone.
Zone = Annotated[str, AfterValidator(_known_zone)]
