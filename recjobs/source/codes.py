"""Integers as codes, batch after batch: each distinct one by when it first came.

A column of ids then takes 4 bytes a row while it is read, and all but the order of its values is
done when the last row has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_FIRST_SLOTS: Final = 1 << 12


class Codes:
    """The codes of one column, which several threads may read."""

    def __init__(self) -> None:
        self._slots = np.zeros((_FIRST_SLOTS, 2), dtype=np.int64)
        self._ids = np.empty(_FIRST_SLOTS // 2, dtype=np.int64)
        self._count = 0
        self._lock = Lock()

    def encode(self, values: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> pa.Array:
        """Return the code of each value, int32; null where its length is below 0."""
        from recjobs.source.code_kernels import encode, place

        codes = np.empty(len(values), dtype=np.int32)
        with self._lock:
            while self._count + len(values) > len(self._ids):  # as many may be new
                self._slots = np.zeros((2 * len(self._slots), 2), dtype=np.int64)
                place(self._ids[: self._count], self._slots)
                self._ids = np.resize(self._ids, 2 * len(self._ids))
            self._count = encode(values, lengths, self._slots, self._ids, self._count, codes)
        null = codes < 0
        return pa.array(codes, mask=null if null.any() else None)

    def column(self, codes: Iterable[pa.Array]) -> pa.ChunkedArray:
        """Return what was encoded as a column over one dictionary."""
        values = pa.array(self._ids[: self._count])
        chunks = [pa.DictionaryArray.from_arrays(some, values) for some in codes]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.int64()))
