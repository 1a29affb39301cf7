"""Single files: how interactions are laid out in Parquet, batches of rows, checksums, JSON.

And what a person names to be written: refused before the work, not after it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from recjobs.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: No file system is slower to tell times apart; one that keeps whole seconds, or two, needs more.
_TICK_NS: Final = 20_000_000
_SECONDS_NS: Final = 2_000_000_000
#: SHA-256 by device, inode, bytes and time of the last change.
_sums: Final[dict[tuple[int, int, int, int], str]] = {}


def log_format(schema: pa.Schema) -> dict[str, Any]:
    """Return how interactions are written as Parquet: fixed, the same rows give the same bytes.

    Numbers as what each adds to the one before: smaller than under zstd, and three times as quick
    to read and to write.
    """
    import pyarrow as pa

    numbers = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
    ]
    return {
        "version": "2.6",
        "compression": "lz4",
        "write_statistics": False,
        "column_encoding": dict.fromkeys(numbers, "DELTA_BINARY_PACKED"),
        "use_dictionary": [name for name in schema.names if name not in numbers],
    }


def row_batches(
    file: pq.ParquetFile, rows: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield a file's rows in batches, group by group: asked for all, it would read groups ahead.

    Args:
        file: Open.
        rows: Of a batch, at most.
        columns: Default: all.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(rows, [group], columns)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex; of one unchanged since this process asked, as it was.

    A night in one process reads the same large files in most of its stages.
    """
    found = path.stat()
    key = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    if key in _sums:
        return _sums[key]
    # A change within a tick of the file system's clock leaves the same time: one that comes while
    # the file is read too, so its age is asked before.
    tick = _TICK_NS if found.st_mtime_ns % 1_000_000_000 else _SECONDS_NS
    settled = time.time_ns() - found.st_mtime_ns > tick
    with path.open("rb") as file:
        sum_ = hashlib.file_digest(file, "sha256").hexdigest()
    if settled:
        _sums[key] = sum_
    return sum_


def check_writable(path: Path, name: str) -> None:
    """Refuse a path that no file can be written to, by trying; a file that is there stays as it is.

    Args:
        path: Of the file.
        name: Who asks for it, such as ``--output``.

    Raises:
        ConfigError: It is a folder, or lies in none, or there is no right to write it.
    """
    try:
        with path.open("ab") if path.exists() else tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"{name}: {path} can't be written: {error.strerror}") from error


def make_folder(path: Path, name: str) -> None:
    """Make a folder, and those that it lies in, where it is missing.

    Args:
        path: Of the folder.
        name: Who asks for it, such as ``--folder``.

    Raises:
        ConfigError: It can't be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{name}: the folder {path} can't be made: {error.strerror}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, keys in order; NaN is refused, for no reader agrees on it."""
    path.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False))


def read_json(path: Path) -> Any:
    """Read a value that `write_json` wrote."""
    return json.loads(path.read_text())
