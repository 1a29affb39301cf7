"""Compiled loops: where their machine code is kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import recjobs


def test_compiled_loops_belong_to_the_sources_of_all_loops(tmp_path: Path) -> None:
    package = tmp_path / "recjobs"
    shutil.copytree(
        Path(recjobs.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    program = "import numba, recjobs.kernels; print(numba.config.CACHE_DIR)"

    def folder(**environment: str) -> Path:
        env = {**os.environ, "PYTHONPATH": str(tmp_path), **environment}
        printed = subprocess.run(
            [sys.executable, "-c", program], env=env, cwd=tmp_path, check=True,
            capture_output=True, text=True,
        ).stdout  # fmt: skip
        return Path(printed.strip())

    first = folder()
    assert first.parent == package / "__pycache__"
    assert folder() == first
    (package / "gate.py").write_text("# no loop is made of it")
    assert folder() == first
    (package / "vector_code.py").write_text(f"{(package / 'vector_code.py').read_text()}# other")
    assert folder().parent == first.parent
    assert folder() != first
    assert folder(NUMBA_CACHE_DIR=str(tmp_path / "asked")).parent == tmp_path / "asked"
