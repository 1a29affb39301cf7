"""Shards: the work of a stage cut into contiguous shares, each for any worker to do alone."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recjobs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Shard:
    """One share of so many; ``2/4`` as people write it.

    Attributes:
        number: From 1 to ``of``.
        of: How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text names.

        Raises:
            ConfigError: It names none.
        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise ConfigError(f"shard: expected one such as 1/4 or 4/4. Received: {text!r}")
        return cls(number, of)

    @classmethod
    def all(cls, of: int) -> list[Shard]:
        """Return every shard, in order."""
        return [cls(number, of) for number in range(1, of + 1)]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def share(self, length: int) -> slice:
        """Return which of so many in a row are the shard's; shares differ by one at most."""
        return slice((self.number - 1) * length // self.of, self.number * length // self.of)

    def part(self, stage: str) -> str:
        """Return the name under which the shard's artifacts are committed."""
        return f"{stage}-{self.number}-of-{self.of}"
