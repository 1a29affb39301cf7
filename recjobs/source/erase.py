"""Erased users, taken out of the days that are kept between nights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import USER_ID
from recjobs.errors import ConfigError, DataError
from recjobs.source.parts import DamagedPartError, Part, Parts

_ATTEMPTS: Final = 5


def erase(parts: Parts, user_ids: Sequence[str]) -> dict[str, int]:
    """Remove every kept interaction of users, also against a night that is just keeping more.

    Args:
        parts: The job's.
        user_ids: As the lists spell them.

    Returns:
        How many ``rows`` were removed, and from how many ``days``.

    Raises:
        ConfigError: An id is not of the type that the users of the job have.
        DataError: Others kept writing.
    """
    for _ in range(_ATTEMPTS):
        if not parts.there():
            return {"rows": 0, "days": 0}
        turn = parts.take_turn()
        kept = parts.kept()
        if kept is None:
            parts.drop()  # files that nothing names, of a night that was killed
            continue
        try:
            changed = _without(parts, kept.days, user_ids)
        except DamagedPartError:
            parts.drop()
            continue
        removed = sum(
            kept.days[day].rows - (new.rows if new else 0) for day, new in changed.items()
        )
        left = {day: changed.get(day, part) for day, part in kept.days.items()}
        days = {day: part for day, part in left.items() if part is not None}
        if parts.commit(replace(kept, days=days), turn):
            return {"rows": removed, "days": len(changed)}
    raise DataError(f"{parts.url}: others kept writing while users were erased. Try again.")


def _without(
    parts: Parts, days: Mapping[int, Part], user_ids: Sequence[str]
) -> dict[int, Part | None]:
    """Return the new parts of the days that the users are in; None of a day with nobody else."""
    changed: dict[int, Part | None] = {}
    for day, rows in parts.read(days):
        ids = _ids(user_ids, rows.schema.field(USER_ID).type)
        left = rows.filter(pc.invert(pc.is_in(rows[USER_ID], value_set=ids)))
        if len(left) < len(rows):
            changed[day] = parts.put(day, left) if len(left) else None
    return changed


def _ids(texts: Sequence[str], type_: pa.DataType) -> pa.Array:
    try:
        return pa.array(list(texts)).cast(type_)
    except pa.ArrowInvalid as error:
        raise ConfigError(
            f"users: expected ids of type {type_}. Received: {', '.join(texts)}"
        ) from error
