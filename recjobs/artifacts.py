"""A run's files: one folder per stage in one fsspec store, committed by a manifest.

A stage writes into a scratch folder on this machine. When it ends well its files are moved to the
store and ``manifest.json``, with a checksum for each of them, is written last: that is the commit.
A killed stage therefore leaves nothing that looks finished.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import fsspec
from fsspec.implementations.local import LocalFileSystem

from recjobs.errors import ConfigError, DataError
from recjobs.files import file_sha256

MANIFEST: Final = "manifest.json"


@dataclass(slots=True)
class StageOutput:
    """What a stage fills: files in ``folder``, and a small summary for the manifest.

    Attributes:
        folder: A scratch folder on this machine; whatever lies in it at the end is committed.
        summary: JSON values that other stages and the report read without opening the files.
    """

    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)

    def share(self, path: Path) -> None:
        """Leave another stage's file, which nobody writes to, as this one's under the same name."""
        try:
            (self.folder / path.name).hardlink_to(path)
        except OSError:  # on another disk, or one without such links
            shutil.copyfile(path, self.folder / path.name)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The commit of one stage.

    Attributes:
        files: SHA-256 by file name, relative to the stage's folder.
        summary: What the stage said of itself.
        seconds: How long the stage took.
        host: The machine that ran it.
    """

    files: dict[str, str]
    summary: dict[str, Any]
    seconds: float
    host: str


class RunFolder:
    """The artifacts of one run.

    Args:
        root: A local folder or an fsspec URL (``s3://bucket/recjobs``).
        run_id: The run.
        home: The host that made the run, for the message where a local folder is missing here.
        removed: When its files were removed to make room, for the message where they are missing.
    """

    def __init__(
        self, root: str, run_id: int, home: str | None = None, removed: datetime | None = None
    ) -> None:
        self.url = f"{root.rstrip('/')}/run-{run_id}"
        self.run_id = run_id
        self._home = home
        self._removed = removed
        try:
            self._fs, self._path = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"artifacts.root: {root} can't be opened: {error}") from error
        self._local = isinstance(self._fs, LocalFileSystem)
        self._verified: set[str] = set()
        self._cache: Path | None = None

    def finished(self, stage: str) -> bool:
        """Tell whether the stage has committed."""
        return bool(self._fs.exists(f"{self._path}/{stage}/{MANIFEST}"))

    def manifest(self, stage: str) -> Manifest:
        """Return the stage's manifest.

        Raises:
            ConfigError: The stage did not run, or ran on another machine's local disk.
        """
        path = f"{self._path}/{stage}/{MANIFEST}"
        try:
            data = json.loads(self._fs.cat_file(path))
        except FileNotFoundError as error:
            raise self._missing(stage) from error
        return Manifest(**data)

    @contextmanager
    def writing(self, stage: str) -> Iterator[StageOutput]:
        """Give a scratch folder to fill, and commit it where the block ends without an error."""
        started = time.monotonic()
        parent = self._path if self._local else None
        try:
            if parent:
                Path(parent).mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{stage}-", dir=parent))
        except OSError as error:
            raise ConfigError(f"artifacts.root: {self.url} can't be written: {error}") from error
        try:
            output = StageOutput(scratch)
            yield output
            self._commit(stage, output, time.monotonic() - started)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def path(self, stage: str, name: str) -> Path:
        """Return a local path of a finished file, fetched if need be, its checksum verified.

        A fetched file is kept for as long as this object is.

        Raises:
            ConfigError: The stage did not run, or ran on another machine's local disk.
            DataError: The file is missing or is not what the stage wrote.
        """
        expected = self.manifest(stage).files.get(name)
        key = f"{stage}/{name}"
        if expected is None:
            raise DataError(f"run {self.run_id}: stage {stage} left no file {name!r}")
        local = self._fetch(key)
        if key not in self._verified:
            received = file_sha256(local)
            if received != expected:
                raise DataError(
                    f"{self.url}/{key} is not what stage {stage} wrote: expected SHA-256 "
                    f"{expected}, received {received}. Run again with --fresh."
                )
            self._verified.add(key)
        return local

    def parts(self, stage: str) -> list[str]:
        """Return under which names the shards of a finished stage committed their files, in order.

        A stage that one process did is its own only part.
        """
        parts: list[str] = self.manifest(stage).summary.get("parts", [stage])
        return parts

    def paths(self, stage: str, name: str) -> list[Path]:
        """Return local paths of a file that each part of a finished stage left; see `path`."""
        return [self.path(part, name) for part in self.parts(stage)]

    def folder(self, stage: str, name: str) -> Path:
        """Return a local folder with every file that the stage left below ``name``, verified.

        Raises:
            ConfigError: The stage did not run, or ran on another machine's local disk.
            DataError: There is no such folder, or a file in it is not what the stage wrote.
        """
        files = [f for f in self.manifest(stage).files if f.startswith(f"{name}/")]
        if not files:
            raise DataError(f"run {self.run_id}: stage {stage} left no folder {name!r}")
        paths = [self.path(stage, file) for file in files]
        return paths[0].parents[files[0].removeprefix(f"{name}/").count("/")]

    def remove(self, *stages: str) -> bool:
        """Remove the named stages' files, or the whole run's where none is named.

        Returns:
            Whether there were any here; a disk of another machine is not looked at.
        """
        there = False
        for path in [f"{self._path}/{stage}" for stage in stages] or [self._path]:
            if self._fs.exists(path):
                there = True
                # Manifests first: what is left by a removal that is killed is not finished.
                for file in self._fs.find(path):
                    if file.endswith(f"/{MANIFEST}"):
                        self._fs.rm(file)
                if self._fs.exists(path):  # in an object store, as long as a file is left
                    self._fs.rm(path, recursive=True)
        return there

    def _commit(self, stage: str, output: StageOutput, seconds: float) -> None:
        files = sorted(p for p in output.folder.rglob("*") if p.is_file())
        sums = {p.relative_to(output.folder).as_posix(): file_sha256(p) for p in files}
        manifest = {
            "files": sums,
            "summary": output.summary,
            "seconds": round(seconds, 3),
            "host": socket.gethostname(),
        }
        text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False)
        target = f"{self._path}/{stage}"
        self.remove(stage)
        if self._local:
            shutil.move(str(output.folder), target)
            Path(target).chmod(0o755)  # mkdtemp's 0700 would lock other workers' users out
        else:
            for name in sums:
                self._fs.put_file(str(output.folder / name), f"{target}/{name}")
        if self._local:
            # A rename, so that a manifest is never seen half-written.
            scratch = Path(target) / f".{MANIFEST}"
            scratch.write_text(text)
            scratch.replace(Path(target) / MANIFEST)
        else:
            self._fs.pipe_file(f"{target}/{MANIFEST}", text.encode())
        self._verified -= {key for key in self._verified if key.startswith(f"{stage}/")}
        if self._cache is not None:
            shutil.rmtree(self._cache / stage, ignore_errors=True)

    def _fetch(self, key: str) -> Path:
        if self._local:
            path = Path(self._path) / key
            if not path.is_file():
                raise self._gone(key)
            return path
        if self._cache is None:
            self._cache = Path(tempfile.mkdtemp(prefix="recjobs-"))
            weakref.finalize(self, shutil.rmtree, self._cache, ignore_errors=True)
        path = self._cache / key
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._fs.get_file(f"{self._path}/{key}", str(path))
            except FileNotFoundError as error:
                raise self._gone(key) from error
        return path

    def _gone(self, key: str) -> DataError:
        return DataError(f"{self.url}/{key} is gone: run again with --fresh")

    def _missing(self, stage: str) -> ConfigError:
        if self._removed:
            return ConfigError(
                f"the artifacts of run {self.run_id} were removed to make room, at "
                f"{self._removed:%Y-%m-%d %H:%M %Z} (artifacts.keep_runs): run the night again "
                "with --fresh"
            )
        here = socket.gethostname()
        if self._local and self._home not in (None, here):
            return ConfigError(
                f"the artifacts of run {self.run_id} are in the local folder {self.url} of host "
                f"{self._home}, and this is host {here}. Set artifacts.root to a folder or an "
                "object store that every worker reaches."
            )
        return ConfigError(
            f"run {self.run_id}: stage {stage} has not finished (nothing committed in "
            f"{self.url}/{stage}). Run the stages before it first."
        )
