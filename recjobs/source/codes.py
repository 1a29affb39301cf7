"""Integers as codes, batch after batch: each distinct one by when it first came.

A column of ids then takes 4 bytes a row while it is read, and all but the order of its values is
done when the last row has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

_FIRST_SLOTS: Final = 1 << 12


class Codes:
    """The codes of one column.

    Args:
        type_: Of the column, some type of integers.
    """

    def __init__(self, type_: pa.DataType) -> None:
        self._type = type_
        self._slots = np.zeros((_FIRST_SLOTS, 2), dtype=np.int64)
        self._ids = np.empty(_FIRST_SLOTS // 2, dtype=np.int64)
        self._count = 0

    def encode(self, column: pa.Array) -> pa.Array:
        """Return the code of each value, int32; null of a null."""
        from recjobs.source.code_kernels import encode, place

        while self._count + len(column) > len(self._ids):  # as many may be new
            self._slots = np.zeros((2 * len(self._slots), 2), dtype=np.int64)
            place(self._ids[: self._count], self._slots)
            self._ids = np.resize(self._ids, 2 * len(self._ids))
        known = column.is_valid().to_numpy(zero_copy_only=False)
        values = column.fill_null(0).cast(pa.int64()).to_numpy()
        codes = np.empty(len(column), dtype=np.int32)
        self._count = encode(values, known, self._slots, self._ids, self._count, codes)
        return pa.array(codes, mask=None if known.all() else ~known)

    def column(self, codes: Iterable[pa.Array]) -> pa.ChunkedArray:
        """Return what was encoded as a column over one dictionary."""
        values = pa.array(self._ids[: self._count]).cast(self._type)
        chunks = [pa.DictionaryArray.from_arrays(some, values) for some in codes]
        return pa.chunked_array(chunks, pa.dictionary(pa.int32(), self._type))
