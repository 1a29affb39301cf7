"""Days of the interactions that a night has read, kept for the nights after it.

One Parquet part per UTC day, its name the day and its SHA-256, and ``index.json``, which is
replaced whole and says what counts. Nothing is locked: who writes takes a turn (a token in the file
``turn``) and commits only while nobody has taken another since, so that of several at once the last
wins, and nobody's old view comes back over an erasure. What an index does not name is removed by
the next commit; a part that is missing or damaged is noticed, and the source read instead.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from recjobs.errors import DataError

_INDEX: Final = "index.json"
_TURN: Final = "turn"
#: Small files that are read every night: plain and quick. The same rows give the same bytes.
_PARQUET: Final[dict[str, Any]] = {
    "compression": "lz4", "version": "2.6", "use_dictionary": False, "write_statistics": False
}  # fmt: skip
#: Parts that are read at once, while those before them are used.
_TOGETHER: Final = 32


class DamagedPartError(DataError):
    """A part is missing or is not what was kept: read the source instead."""


@dataclass(frozen=True, slots=True)
class Part:
    """One day.

    Attributes:
        rows: Its interactions.
        sha256: Of the file.
    """

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept.

    Attributes:
        origin: `queries.Queries.origin` of what was read, with the versions that read it.
        until: Days since 1970: every interaction before it is in the parts, none after it.
        nights: How many nights have read only the rest since one has read everything.
        days: Part by day since 1970, ascending; a day without interactions has none.
    """

    origin: str
    until: int
    nights: int
    days: Mapping[int, Part]

    @property
    def rows(self) -> int:
        """How many interactions are kept."""
        return sum(part.rows for part in self.days.values())

    def before(self, until: int) -> dict[int, Part]:
        """Return the days before a day."""
        return {day: part for day, part in self.days.items() if day < until}


def day_name(day: int) -> str:
    """Return a day since 1970 as 2016-10-17."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


class Parts:
    """The parts of one job.

    Args:
        url: A local folder or an fsspec URL, for this alone; made when something is kept.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._fs, self._path = fsspec.core.url_to_fs(url)
        self._local = isinstance(self._fs, LocalFileSystem)

    def there(self) -> bool:
        """Tell whether any file is kept, whatever it is worth."""
        return bool(self._fs.exists(self._path))

    def kept(self) -> Kept | None:
        """Return what is kept; None where nothing is, or its index can't be understood."""
        try:
            data = json.loads(self._fs.cat_file(f"{self._path}/{_INDEX}"))
            days = {int(day): Part(**part) for day, part in data.pop("days").items()}
            return Kept(**data, days=dict(sorted(days.items())))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def take_turn(self) -> str:
        """Return the token that `commit` asks for: every other one is worth nothing from now on."""
        turn = secrets.token_hex(16)
        if self._local:
            Path(self._path).mkdir(parents=True, exist_ok=True)
        self._put(_TURN, turn.encode())
        return turn

    def put(self, day: int, rows: pa.Table, there: Part | None = None) -> Part:
        """Store a day's interactions, in the order of the log.

        Args:
            day: Days since 1970.
            rows: At least one.
            there: The part that is kept of the day: the same one is not written again.
        """
        file = io.BytesIO()
        pq.write_table(rows.combine_chunks(), file, **_PARQUET)
        content = file.getvalue()
        part = Part(len(rows), hashlib.sha256(content).hexdigest())
        if part != there or not self._fs.exists(f"{self._path}/{_name(day, part)}"):
            self._put(_name(day, part), content)
        return part

    def read(self, days: Mapping[int, Part]) -> Iterator[tuple[int, pa.Table]]:
        """Yield each day's interactions, in the order given.

        Raises:
            DamagedPartError: A part is missing, or is not what was kept.
        """
        asked = list(days.items())
        batches = [asked[at : at + _TOGETHER] for at in range(0, len(asked), _TOGETHER)]
        with ThreadPoolExecutor(1) as pool:
            coming = [pool.submit(self._read, batch) for batch in batches[:1]]
            for batch in [*batches[1:], None]:
                tables = coming.pop().result() if coming else []
                if batch is not None:
                    coming.append(pool.submit(self._read, batch))
                yield from tables

    def commit(self, kept: Kept, turn: str) -> bool:
        """Make an index the one that counts, and remove what it does not name.

        Returns:
            False where somebody has taken a turn since: then nothing is kept of it.
        """
        named = _names(kept)
        if self._has(turn):
            self._put(_INDEX, json.dumps(asdict(kept), sort_keys=True).encode())
            if self._has(turn) and named <= self._files():
                self._remove(self._files() - named - {_INDEX, _TURN})
                return True
            # It may have been written over one that knew better, or a part was removed meanwhile.
            self._remove({_INDEX})
        # Not what another has put: no index may name that as yet.
        counts = self.kept()
        self._remove((named - _names(counts) if counts else named) & self._files())
        return False

    def drop(self) -> None:
        """Remove everything: the next night reads the source in full."""
        if self.there():
            with_index = f"{self._path}/{_INDEX}"
            if self._fs.exists(with_index):  # first: the rest means nothing without it
                self._fs.rm_file(with_index)
            self._fs.rm(self._path, recursive=True)

    def _read(self, batch: Sequence[tuple[int, Part]]) -> list[tuple[int, pa.Table]]:
        names = [f"{self._path}/{_name(day, part)}" for day, part in batch]
        whole = [None] * len(names)
        try:
            contents = self._fs.cat_ranges(names, whole, whole, on_error="raise")
        except OSError as error:
            raise DamagedPartError(f"a part in {self.url} can't be read: {error}") from error
        tables = []
        for (day, part), content in zip(batch, contents, strict=True):
            if hashlib.sha256(content).hexdigest() != part.sha256:
                raise DamagedPartError(f"{self.url}: {_name(day, part)} is not what was kept")
            file = pq.ParquetFile(pa.BufferReader(content))
            tables.append((day, file.read(use_threads=False)))
        return tables

    def _has(self, turn: str) -> bool:
        try:
            return bool(self._fs.cat_file(f"{self._path}/{_TURN}") == turn.encode())
        except FileNotFoundError:  # dropped
            return False

    def _remove(self, names: set[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._path}/{name}")

    def _files(self) -> set[str]:
        self._fs.invalidate_cache()
        found = self._fs.ls(self._path, detail=True) if self.there() else []
        return {path["name"].rsplit("/", 1)[-1] for path in found if path["type"] == "file"}

    def _put(self, name: str, content: bytes) -> None:
        if not self._local:
            self._fs.pipe_file(f"{self._path}/{name}", content)
            return
        # A rename, so that a file is never seen half-written.
        scratch = Path(self._path) / f".{name}-{secrets.token_hex(4)}"
        scratch.write_bytes(content)
        scratch.replace(Path(self._path) / name)


def _names(kept: Kept) -> set[str]:
    return {_name(day, part) for day, part in kept.days.items()}


def _name(day: int, part: Part) -> str:
    return f"{day_name(day)}-{part.sha256[:16]}.parquet"
