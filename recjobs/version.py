"""Which code made a run: a part of its key, for lists are a function of the code too."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

from recjobs import __version__, db


@cache
def code_version() -> str:
    """Return the version and a digest of the package's own sources, which decide the lists."""
    package = Path(str(resources.files("recjobs")))
    digest = hashlib.sha256()
    for root, pattern in ((package, "*.py"), (db.sql_folder(), "*.sql")):
        for path in sorted(root.rglob(pattern)):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:12]}"
