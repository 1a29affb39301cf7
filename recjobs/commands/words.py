"""Arguments that say more than argparse knows how to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recjobs.config import parse_value
from recjobs.errors import ConfigError


def overrides_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Return what ``--set KEY=VALUE`` sets, by key.

    Raises:
        ConfigError: One of them is no such pair.
    """
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ConfigError(
                f"--set: expected KEY=VALUE, as in model.name=ease. Received: {pair!r}"
            )
        overrides[key] = parse_value(value)
    return overrides


def cutoffs(text: str) -> tuple[int, ...]:
    """Return what ``--k 10,20`` names, ascending.

    Raises:
        ConfigError: It names something else.
    """
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise ConfigError(f"--k: expected cutoffs, as in 10,20. Received: {text!r}") from error
