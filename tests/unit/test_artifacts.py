"""A run's files: committed whole or not at all, and what they were when written."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import Mock

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recjobs import artifacts
from recjobs.artifacts import MANIFEST, RunFolder, StageOutput
from recjobs.errors import ConfigError, DataError
from recjobs.files import file_sha256, read_json, write_json


@pytest.fixture(params=["local", "object store"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "artifacts")
        return
    url = f"memory://artifacts-{uuid.uuid4()}"
    yield url
    store, path = fsspec.core.url_to_fs(url)
    if store.exists(path):
        store.rm(path, recursive=True)


def write(folder: RunFolder, stage: str, files: dict[str, str], **summary: Any) -> None:
    with folder.writing(stage) as out:
        for name, text in files.items():
            path = out.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        out.summary.update(summary)


def tamper(root: str, key: str, text: str | None) -> None:
    store, path = fsspec.core.url_to_fs(f"{root}/run-1/{key}")
    store.rm(path) if text is None else store.pipe_file(path, text.encode())


def test_what_is_written_can_be_read(root: str) -> None:
    folder = RunFolder(root, 1)
    assert not folder.finished("train")
    write(folder, "train", {"history.json": "{}", "model/a.npz": "A", "model/deep/b": "B"}, n=3)
    other = RunFolder(root + "/", 1)  # another process, and a slash too many
    assert other.finished("train")
    assert other.path("train", "history.json").read_text() == "{}"
    model = other.folder("train", "model")
    assert (model / "a.npz").read_text() == "A"
    assert (model / "deep" / "b").read_text() == "B"
    assert other.folder("train", "model/deep").joinpath("b").read_text() == "B"
    manifest = other.manifest("train")
    assert manifest.summary == {"n": 3}
    assert manifest.host == socket.gethostname()
    assert set(manifest.files) == {"history.json", "model/a.npz", "model/deep/b"}
    assert not RunFolder(root, 2).finished("train")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_. -]{0,8}[a-z0-9]", fullmatch=True).filter(
            lambda name: name != MANIFEST
        ),
        st.binary(max_size=50),
        min_size=1,
        max_size=4,
    )
)
def test_any_bytes_come_back(root: str, files: dict[str, bytes]) -> None:
    folder = RunFolder(root, 1)
    with folder.writing("score") as out:
        for name, data in files.items():
            (out.folder / name).write_bytes(data)
    assert {n: folder.path("score", n).read_bytes() for n in files} == files


def test_a_stage_that_fails_leaves_nothing_that_looks_finished(root: str, tmp_path: Path) -> None:
    folder = RunFolder(root, 1)

    def fail(out: StageOutput) -> None:
        (out.folder / "lists.parquet").write_text("half")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"), folder.writing("score") as out:
        fail(out)
    assert not folder.finished("score")
    with pytest.raises(ConfigError, match="stage score has not finished"):
        folder.path("score", "lists.parquet")
    assert not list(tmp_path.rglob("lists.parquet"))


def test_a_failure_leaves_the_earlier_commit(root: str) -> None:
    folder = RunFolder(root, 1)
    write(folder, "gate", {"verdict.json": "1"})
    with pytest.raises(KeyError), folder.writing("gate"):
        raise KeyError
    # A summary that is no JSON is refused before anything is replaced.
    with pytest.raises(ValueError, match="JSON compliant"):
        write(folder, "gate", {"verdict.json": "2"}, churn=math.nan)
    assert folder.path("gate", "verdict.json").read_text() == "1"


def test_a_second_commit_replaces_the_first(root: str) -> None:
    folder = RunFolder(root, 1)
    write(folder, "refit", {"old": "1", "both": "1"})
    assert folder.path("refit", "both").read_text() == "1"  # read once, so it may be cached
    write(folder, "refit", {"both": "2"})
    assert folder.path("refit", "both").read_text() == "2"
    with pytest.raises(DataError, match="left no file 'old'"):
        folder.path("refit", "old")


@pytest.mark.parametrize("stop_at", ["files", "manifest"])
def test_a_commit_that_is_killed_is_not_finished(
    root: str, stop_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(root, 1)
    write(folder, "score", {"a": "old", "b": "old"})
    store = type(fsspec.core.url_to_fs(root)[0])

    def killed(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    if stop_at == "files":
        monkeypatch.setattr(artifacts.shutil, "move", killed)
        monkeypatch.setattr(store, "put_file", killed)
    else:
        monkeypatch.setattr(Path, "replace", killed)
        monkeypatch.setattr(store, "pipe_file", killed)
    with pytest.raises(KeyboardInterrupt):
        write(folder, "score", {"a": "new", "b": "new"})
    monkeypatch.undo()
    assert not RunFolder(root, 1).finished("score")
    again = RunFolder(root, 1)
    write(again, "score", {"a": "new"})
    assert again.path("score", "a").read_text() == "new"


def test_a_removal_that_is_killed_is_not_finished(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(root, 1)
    write(folder, "score", {"a": "1"})
    write(folder, "train", {"model/a": "1"})
    store = type(fsspec.core.url_to_fs(root)[0])
    remove = store.rm

    def killed_before_folders(self: Any, path: Any, recursive: bool = False, **kw: Any) -> None:
        if recursive:
            raise KeyboardInterrupt
        remove(self, path, **kw)

    monkeypatch.setattr(store, "rm", killed_before_folders)
    with pytest.raises(KeyboardInterrupt):
        folder.remove()
    assert not folder.finished("score")
    assert not folder.finished("train")


@pytest.mark.parametrize("cached", [False, True])
def test_a_file_that_was_changed_is_refused(root: str, cached: bool) -> None:
    write(RunFolder(root, 1), "index", {"log.npz": "true", "model/a": "true"})
    tamper(root, "index/log.npz", "fals")
    tamper(root, "index/model/a", "fals")
    folder = RunFolder(root, 1)
    for _ in range(1 + cached):
        with pytest.raises(DataError, match=r"not what stage index wrote: expected SHA-256"):
            folder.path("index", "log.npz")
        with pytest.raises(DataError, match="not what stage index wrote"):
            folder.folder("index", "model")


def test_a_file_that_is_gone_is_refused(root: str) -> None:
    write(RunFolder(root, 1), "index", {"log.npz": "true"})
    tamper(root, "index/log.npz", None)
    with pytest.raises(DataError, match=r"log\.npz is gone: run again with --fresh"):
        RunFolder(root, 1).path("index", "log.npz")


def test_unknown_names_are_named(root: str) -> None:
    write(RunFolder(root, 1), "train", {"model.txt": "1"})
    with pytest.raises(DataError, match="run 1: stage train left no folder 'model'"):
        RunFolder(root, 1).folder("train", "model")
    with pytest.raises(DataError, match="stage train left no file 'model'"):
        RunFolder(root, 1).path("train", "model")


def test_another_hosts_disk_names_both_hosts(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        RunFolder(str(tmp_path), 7, home="worker-1").manifest("extract")
    assert "host worker-1" in str(raised.value)
    assert f"this is host {socket.gethostname()}" in str(raised.value)
    assert "artifacts.root" in str(raised.value)


def test_removal_is_of_what_is_named(root: str) -> None:
    folder = RunFolder(root, 1)
    for stage in ("extract", "train", "score"):
        write(folder, stage, {"a": "1"})
    folder.remove("train", "never-ran")
    assert [folder.finished(s) for s in ("extract", "train", "score")] == [True, False, True]
    write(RunFolder(root, 2), "score", {"a": "1"})
    folder.remove()
    assert not folder.finished("extract")
    assert RunFolder(root, 2).finished("score")
    folder.remove()  # twice is no error
    write(folder, "check", {})  # a manifest alone
    folder.remove("check")
    assert not folder.finished("check")


@pytest.mark.parametrize("linked", [True, False])
def test_a_file_of_another_stage_is_shared(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    if not linked:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=OSError("another disk")))
    folder = RunFolder(root, 1)
    with folder.writing("extract") as out:
        (out.folder / "log.parquet").write_bytes(b"rows")
    with folder.writing("validate") as out:
        out.share(folder.path("extract", "log.parquet"))
    folder.remove("extract")
    assert RunFolder(root, 1).path("validate", "log.parquet").read_bytes() == b"rows"


def test_other_users_may_read_a_local_stage(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path), 1)
    write(folder, "score", {"lists.parquet": "1"})
    assert os.stat(tmp_path / "run-1" / "score").st_mode & 0o055 == 0o055


def test_the_manifest_is_a_plain_file(tmp_path: Path) -> None:
    write(RunFolder(str(tmp_path), 1), "gate", {"verdict.json": "1"}, decision="hold")
    told = json.loads((tmp_path / "run-1" / "gate" / MANIFEST).read_text())
    assert told["summary"] == {"decision": "hold"}
    expected = file_sha256(tmp_path / "run-1" / "gate" / "verdict.json")
    assert told["files"] == {"verdict.json": expected}
    assert expected == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


def test_a_file_is_read_for_its_sum_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.arrow"
    path.write_text("1")
    os.utime(path, ns=(0, time.time_ns() + 10**12))  # just written: it may change unseen
    digest = Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    first = file_sha256(path)
    assert (file_sha256(path), digest.call_count) == (first, 2)
    os.utime(path, ns=(0, 10**18))
    moved = path.rename(tmp_path / "moved.arrow")
    assert [file_sha256(p) for p in (moved, moved)] == [first, first]
    assert digest.call_count == 3
    moved.write_text("2")  # as many bytes
    assert file_sha256(moved) != first


@pytest.mark.parametrize("part_ns", [1, 0])
def test_a_file_that_may_yet_change_within_the_clock_s_tick_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_ns: int
) -> None:
    # Written a moment ago and read for long, and a second ago where only seconds are kept.
    path, written = tmp_path / "rows.arrow", 10**18 + part_ns
    now = written + (1 if part_ns else 10**9)
    digest = hashlib.file_digest

    def slow(file: BinaryIO, name: str) -> Any:
        nonlocal now
        now += 10**9 if part_ns else 0
        return digest(file, name)

    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setattr(hashlib, "file_digest", slow)
    path.write_text("1")
    os.utime(path, ns=(0, written))
    first = file_sha256(path)
    path.write_text("2")
    os.utime(path, ns=(0, written))
    assert file_sha256(path) != first


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(json_values)
def test_json_round_trip(tmp_path: Path, value: Any) -> None:
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_without_nan(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": [value]})
