"""The inner loops, compiled by numba; imported where they run, for the import takes a while.

Every kernel works on one range of rows, without the GIL, so that threads share a block of users and
the result of a row never depends on how the rows were shared out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

_F = TypeVar("_F", bound=Callable[..., Any])

#: What tells a module with loops from others, or one with what they are made of.
_MARKS: Final = (b"numba", b"llvmlite", b"recjobs.kernels")


def _cache_folder() -> str:
    """Return a folder for compiled loops of these very sources, empty where none can be made.

    numba looks only at the file of the loop itself, and would go on with the machine code of what
    another file had when it was compiled.
    """
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        source = path.read_bytes()
        if any(mark in source for mark in _MARKS):
            digest.update(path.relative_to(package).as_posix().encode() + source)
    asked = str(numba.config.CACHE_DIR)  # type: ignore[attr-defined]  # from NUMBA_CACHE_DIR
    for root in (asked,) if asked else (package / "__pycache__", "~/.cache"):
        try:
            folder = Path(root).expanduser() / f"recjobs-loops-{digest.hexdigest()[:12]}"
            folder.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError):  # it can't be made, or there is no home
            continue
        if os.access(folder, os.W_OK):
            return str(folder)
    return ""


numba.config.CACHE_DIR = _cache_folder()  # type: ignore[attr-defined]


def compiled(function: _F) -> _F:
    """Compile a loop that runs without the GIL."""
    return _compile(function, fastmath=False)


def compiled_fast(function: _F) -> _F:
    """As `compiled`, but sums may be taken in another order, so that they are vector loops."""
    return _compile(function, fastmath=True)


def inlined_fast(function: _F) -> _F:
    """As `compiled_fast`, but part of whatever loop calls it.

    A call counts the arrays that it takes, up and down, where all threads do.
    """
    return _compile(function, fastmath=True, forceinline=True)


def _compile(function: _F, *, fastmath: bool, forceinline: bool = False) -> _F:
    options: Any = {"nogil": True, "fastmath": fastmath, "forceinline": forceinline}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written: compile every time.
        return cast(_F, numba.njit(**options)(function))


@compiled
def place_of(
    indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32], row: int, column: int
) -> int:
    """Return where a row of a CSR matrix has a column, -1 where it has not.

    Args:
        indptr: ``(n_rows + 1,)``.
        indices: Ascending within a row.
        row: Of the matrix.
        column: Sought.
    """
    end = indptr[row + 1]
    at = indptr[row] + np.searchsorted(indices[indptr[row] : end], column)
    return int(at) if at < end and indices[at] == column else -1


@compiled
def fill_from(
    order: npt.NDArray[np.int32],
    order_score: npt.NDArray[np.float32],
    users: npt.NDArray[np.int32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    item_idx: npt.NDArray[np.int32],
    score: npt.NDArray[np.float32],
    filled: npt.NDArray[np.int32],
) -> None:
    """Complete short lists from one order of items, without seen items or repetitions.

    Args:
        order: Items, best first, ``(n_order,)``.
        order_score: Their scores.
        users: The user of each row, ``(n_rows,)``.
        indptr: Of the seen items, ``(n_users + 1,)``.
        indices: The seen items, ascending within a user.
        item_idx: The lists, ``(n_rows, n)``, -1 padded; changed in place.
        score: Their scores; changed in place.
        filled: How many entries each list had, ``(n_rows,)``; left as it is.
    """
    n = item_idx.shape[1]
    for row in range(len(users)):
        place = had = filled[row]
        if place == n:
            continue
        seen = indices[indptr[users[row]] : indptr[users[row] + 1]]
        for position in range(len(order)):
            item = order[position]
            at = np.searchsorted(seen, item)
            if at < len(seen) and seen[at] == item:
                continue
            repeated = False
            for earlier in range(had):
                repeated |= item_idx[row, earlier] == item
            if repeated:
                continue
            item_idx[row, place] = item
            score[row, place] = order_score[position]
            place += 1
            if place == n:
                break


@compiled
def rerank(
    users: npt.NDArray[np.int32],
    pool_item: npt.NDArray[np.int32],
    pool_score: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    popularity: npt.NDArray[np.float32],
    unit: npt.NDArray[np.float32],
    shares: npt.NDArray[np.float32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    out_item: npt.NDArray[np.int32],
    out_score: npt.NDArray[np.float32],
) -> None:
    """Fill each row's places one by one from its pool; see `recjobs.rerank`.

    Args:
        users: The user of each row, ``(n_rows,)``.
        pool_item: Best first, ``(n_rows, pool)``, -1 padded.
        pool_score: ``(n_rows, pool)``.
        weights: Of popularity, diversity and calibration, ``(3,)``.
        popularity: 0..1, ``(n_items,)``.
        unit: Vectors of length 1, ``(n_items, d)``.
        shares: Shares of categories, ``(n_items, n_categories)``.
        indptr: Of the users' histories, ``(n_users + 1,)``.
        indices: The items of the histories.
        out_item: ``(n_rows, n)``, -1; filled in place.
        out_score: ``(n_rows, n)``, -inf; filled in place.
    """
    n_categories = shares.shape[1]
    wanted = np.zeros(n_categories, dtype=np.float32)
    total = np.zeros(n_categories, dtype=np.float32)
    closest = np.zeros(pool_item.shape[1], dtype=np.float32)
    value = np.zeros(pool_item.shape[1], dtype=np.float32)
    for row in range(len(users)):
        length = 0
        while length < pool_item.shape[1] and pool_item[row, length] >= 0:
            length += 1
        if length == 0:
            continue
        lowest = pool_score[row, length - 1]
        spread = max(pool_score[row, 0] - lowest, np.float32(1e-12))
        for place in range(length):
            value[place] = (pool_score[row, place] - lowest) / spread
            value[place] -= weights[0] * popularity[pool_item[row, place]]
            closest[place] = 0
        calibrated = _shares_of(users[row], shares, indptr, indices, wanted) and weights[2] > 0
        total[:] = 0
        for step in range(min(length, out_item.shape[1])):
            chosen = -1
            greatest = np.float32(-np.inf)
            for place in range(length):
                if value[place] == -np.inf:
                    continue
                found = value[place] - weights[1] * closest[place]
                if calibrated:
                    item = pool_item[row, place]
                    found -= weights[2] * _divergence(wanted, total, shares[item], step + 1)
                if found > greatest:
                    greatest = found
                    chosen = place
            item = pool_item[row, chosen]
            out_item[row, step] = item
            out_score[row, step] = pool_score[row, chosen]
            value[chosen] = -np.inf
            for category in range(n_categories):
                total[category] += shares[item, category]
            if weights[1] > 0:
                for place in range(length):
                    likeness = np.float32(0)
                    other = pool_item[row, place]
                    for d in range(unit.shape[1]):
                        likeness += unit[item, d] * unit[other, d]
                    closest[place] = max(closest[place], likeness)


@compiled
def _shares_of(
    user: int,
    shares: npt.NDArray[np.float32],
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    out: npt.NDArray[np.float32],
) -> bool:
    """Sum up the shares of a user's history, scaled to 1; False where it has no category."""
    out[:] = 0
    whole = np.float32(0)
    for position in range(indptr[user], indptr[user + 1]):
        for category in range(len(out)):
            share = shares[indices[position], category]
            out[category] += share
            whole += share
    if whole > 0:
        for category in range(len(out)):
            out[category] /= whole
    return bool(whole > 0)


@compiled
def _divergence(
    wanted: npt.NDArray[np.float32],
    total: npt.NDArray[np.float32],
    more: npt.NDArray[np.float32],
    length: int,
) -> float:
    """Return KL(wanted || the list with one item more), the list smoothed by 1% of wanted."""
    found = np.float32(0)
    for category in range(len(wanted)):
        p = wanted[category]
        if p > 0:
            q = (total[category] + more[category]) / np.float32(length)
            found += p * np.log(p / (np.float32(0.99) * q + np.float32(0.01) * p))
    return float(found)
