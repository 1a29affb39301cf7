"""How much memory a fit may still take: what the machine has left, or its control group."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_ROOT: Final = Path("/sys/fs/cgroup")
#: The limit, the use, and what of the use is cached files: of version 2 and of version 1.
_FILES: Final = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)


def free_memory(root: Path = _ROOT) -> int:
    """Return the bytes that may still be taken without swapping, or being killed for it.

    Args:
        root: Where a container sees its own control group.
    """
    free = psutil.virtual_memory().available
    for limit, used, stat, cached in _FILES:
        try:
            most = int((root / limit).read_text())  # "max" where there is no limit
            taken = int((root / used).read_text())
            facts = dict(line.split() for line in (root / stat).read_text().splitlines())
        except (OSError, ValueError):
            continue
        free = min(free, max(0, most - taken + int(facts.get(cached, 0))))
    return free
