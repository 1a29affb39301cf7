"""Work that is shared out over threads, a slice of rows at a time, or done ahead in one.

Kernels and numpy's products leave the GIL alone, so threads share the arrays and nothing is copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

import threadpoolctl

from recjobs.progress import Progress, silent

_Item = TypeVar("_Item")


def over_rows(
    work: Callable[[slice], None],
    n_rows: int,
    step: int,
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> None:
    """Call ``work`` on slices of ``step`` rows, in threads, each with BLAS on one thread.

    Args:
        work: What to do; it must not care which slices come first.
        n_rows: How many rows there are.
        step: Rows of a slice.
        threads: How many; default: as many as there are processors.
        progress: Told the share of rows done, from the calling thread.
    """
    slices = [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]
    with blas_threads(1), ThreadPoolExecutor(threads or cores()) as pool:
        for rows, _ in zip(slices, pool.map(work, slices), strict=True):
            progress(rows.stop / n_rows)


def ahead(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield each item while a thread makes the next; none of them may be None."""
    making = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, making, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, making, None)
            yield item


def cores() -> int:
    """Return how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


@contextmanager
def blas_threads(threads: int) -> Iterator[None]:
    """Give each product of BLAS so many threads: 1 where our own threads share the work out."""
    with _thread_pools().limit(limits=threads, user_api="blas"):
        yield


@cache
def _thread_pools() -> threadpoolctl.ThreadpoolController:
    # To look through what is loaded takes milliseconds, so it is done once, when both BLAS are.
    import scipy.linalg  # noqa: F401 (its BLAS is not numpy's)

    return threadpoolctl.ThreadpoolController()
