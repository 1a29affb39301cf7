"""Columns of Arrow as fields of COPY BINARY: how long each is, and where its bytes go.

Every field of the format is its length, big-endian, then its bytes. A column becomes its values
one after the other, and `copy_kernels` puts them into the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.errors import DataError

#: Types of columns that can be written, and what the server calls each: its OID.
OIDS: Final[Mapping[str, int]] = {
    "boolean": 16,
    "bigint": 20,
    "integer": 23,
    "text": 25,
    "real": 700,
    "double precision": 701,
    "uuid": 2950,
}
#: Those of numbers, as Arrow has them.
_NUMBERS: Final[Mapping[str, pa.DataType]] = {
    "boolean": pa.uint8(),
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "real": pa.float32(),
    "double precision": pa.float64(),
}
_NULL: Final = -1
_HYPHENS: Final = (8, 13, 18, 23)  # in a uuid's text

Bytes = npt.NDArray[np.uint8]


def field_of(column: pa.Array, type_: str) -> _Bytes | _Numbers | _Lists:
    """Return a column as fields of an SQL type, a key of `OIDS`, with ``[]`` for arrays."""
    if type_.endswith("[]"):
        return _Lists.of(column, type_.removesuffix("[]"))
    return _values(column, type_)


@dataclass(frozen=True, slots=True)
class _Bytes:
    """Values one after the other.

    Attributes:
        ends: Where each ends, after a 0, int64 ``(n + 1,)``; a null is empty.
        data: Their bytes, uint8.
        known: False for a null, bool ``(n,)``.
    """

    ends: npt.NDArray[np.int64]
    data: Bytes
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, column: pa.Array, type_: str) -> _Bytes:
        known: npt.NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
        if type_ == "text":
            ends, data = _text_bytes(column)
            return cls(ends, data, known)
        values = _uuids(column)[known]
        return cls(_ends(16 * known), values.view(np.uint8), known)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each field, its length among them."""
        return 4 + np.diff(self.ends)

    def contents(self, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the bytes of each list as fields, from their bounds."""
        return 4 * np.diff(bounds) + np.diff(self.ends[bounds])

    def put(self, at: npt.NDArray[np.int64]) -> None:
        """Put a field into each row; see `copy_kernels.put_values`."""
        from recjobs.copy_kernels import put_values

        put_values(at, self.ends, self.data.ctypes.data, self.known)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Numbers one after the other, as this machine has them.

    Attributes:
        data: The numbers, whatever they are of a null.
        known: False for a null, bool ``(n,)``.
    """

    data: npt.NDArray[Any]
    known: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, column: pa.Array, type_: str) -> _Numbers:
        known = column.is_valid().to_numpy(zero_copy_only=False)
        return cls(column.cast(_NUMBERS[type_]).fill_null(0).to_numpy(), known)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each field, its length among them."""
        return 4 + self.data.itemsize * self.known.astype(np.int64)

    def contents(self, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the bytes of each list as fields, from their bounds."""
        known = bounds if self.known.all() else _ends(self.known)[bounds]
        sizes: npt.NDArray[np.int64] = 4 * np.diff(bounds) + self.data.itemsize * np.diff(known)
        return sizes

    def put(self, at: npt.NDArray[np.int64]) -> None:
        """Put a field into each row; see `copy_kernels.put_numbers`."""
        from recjobs.copy_kernels import put_numbers

        put_numbers(at, self.data.itemsize, self.data.ctypes.data, self.known)


@dataclass(frozen=True, slots=True)
class _Lists:
    """Arrays one after the other.

    Attributes:
        elements: Of all arrays.
        bounds: The first of each, and their number, int64 ``(n + 1,)``.
        lengths: Bytes of each array, -1 for a null, int64 ``(n,)``.
        heads: int32, ``(n, 5)``; see `copy_kernels.put_lists`.
    """

    elements: _Bytes | _Numbers
    bounds: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    heads: npt.NDArray[np.int32]

    @classmethod
    def of(cls, column: pa.ListArray, type_: str) -> _Lists:
        counts = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        flat, bounds = column.flatten(), _ends(counts)
        elements = _values(flat, type_)
        contents = elements.contents(bounds)
        known = column.is_valid().to_numpy(zero_copy_only=False)
        heads = np.empty((len(column), 5), dtype=np.int32)
        heads[:] = (0, flat.null_count > 0, OIDS[type_], 0, 1)
        heads[:, 0], heads[:, 3] = counts > 0, counts
        lengths = np.where(known, np.where(counts > 0, 20, 12) + contents, _NULL)
        return cls(elements, bounds, lengths, heads)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each field, its length among them."""
        return 4 + np.maximum(self.lengths, 0)

    def put(self, at: npt.NDArray[np.int64]) -> None:
        """Put a field into each row; see `copy_kernels.put_lists`."""
        from recjobs.copy_kernels import put_lists, put_number_lists

        of, data = self.elements, self.elements.data.ctypes.data
        if isinstance(of, _Numbers):
            width = of.data.itemsize
            put_number_lists(at, self.lengths, self.heads, self.bounds, width, data, of.known)
        else:
            put_lists(at, self.lengths, self.heads, self.bounds, of.ends, data, of.known)


def _values(column: pa.Array, type_: str) -> _Bytes | _Numbers:
    return (_Numbers if type_ in _NUMBERS else _Bytes).of(column, type_)


def _uuids(column: pa.Array) -> npt.NDArray[Any]:
    """Return the 16 bytes of each uuid, from its 36 characters; ``(n,)`` of dtype V16."""
    text = pc.fill_null(column.cast(pa.large_string()), "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
    if not pc.all(pc.equal(pc.binary_length(text), 36)).as_py() and len(text):
        raise DataError("ids of type uuid: expected 36 characters each, as in Postgres's own text")
    letters = _text_bytes(text)[1].reshape(-1, 36)
    halves = _HEX[np.delete(letters, _HYPHENS, axis=1)]
    if (halves > 15).any() or (letters[:, _HYPHENS] != ord("-")).any():
        raise DataError("ids of type uuid: expected hexadecimal digits and hyphens")
    packed = np.ascontiguousarray(halves[:, 0::2] << 4 | halves[:, 1::2])
    return packed.view("V16").reshape(-1)


def _hex_values() -> Bytes:
    table = np.full(256, 255, dtype=np.uint8)
    for value, digit in enumerate("0123456789abcdef"):
        table[[ord(digit), ord(digit.upper())]] = value
    return table


_HEX: Final = _hex_values()


def _text_bytes(column: pa.Array) -> tuple[npt.NDArray[np.int64], Bytes]:
    """Return where each text ends, after a 0, and the bytes of them all; a null is empty."""
    texts = pc.fill_null(column.cast(pa.large_string()), "")
    if not len(texts):
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    content = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
    return ends - ends[0], content


def _ends(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    ends: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return ends
