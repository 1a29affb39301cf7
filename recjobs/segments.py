"""Which segment each user belongs to, such as a country: whose popular list a newcomer gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recjobs.columns import EVERYBODY, SEGMENT
from recjobs.errors import DataError
from recjobs.index import Index

#: The most segments: each has a list of its own, and a few users say nothing of what is popular.
MOST: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The segments of all users.

    Attributes:
        names: Distinct, ascending; `columns.EVERYBODY` is none of them.
        code: Each user's position in ``names``, int16 ``(n_users,)``; -1 for everybody's. Without
            rows where there are no segments.
    """

    names: tuple[str, ...]
    code: npt.NDArray[np.int16]

    def __post_init__(self) -> None:
        if EVERYBODY in self.names or list(self.names) != sorted(set(self.names)):
            raise DataError(
                f"segments: expected distinct names in order, none of them {EVERYBODY!r}. "
                f"Received: {self.names}"
            )

    def of(self, users: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
        """Return the segments of some users, int16 ``(n,)``; -1 for everybody's.

        A user beyond the last is one that an earlier night's index does not have: in everybody's.
        """
        found = np.full(len(users), -1, dtype=np.int16)
        known = users < len(self.code)
        found[known] = self.code[users[known]]
        return found


#: Everybody is in one segment.
NO_SEGMENTS: Final = Segments((), np.zeros(0, dtype=np.int16))


def segments_of(table: pa.Table, key: str, index: Index) -> Segments:
    """Return the segments of an index's users from the snapshot's table of users.

    The largest `MOST` are kept; users of the others, and of none, are in everybody's.

    Args:
        table: With the column of ids, and perhaps one of segments.
        key: The column of ids.
        index: Whose users.
    """
    if SEGMENT not in table.column_names or table[SEGMENT].null_count == len(table):
        return NO_SEGMENTS
    name = pc.utf8_trim_whitespace(table[SEGMENT].combine_chunks())
    counts = {row["values"]: row["counts"] for row in pc.value_counts(name).to_pylist()}
    for nobody in (None, "", EVERYBODY):
        counts.pop(nobody, None)
    largest = sorted(counts, key=lambda known: (-counts[known], known))[:MOST]
    names = tuple(sorted(largest))
    code = np.full(len(index), -1, dtype=np.int16)
    found = pc.fill_null(pc.index_in(name, value_set=pa.array(names, pa.string())), -1)
    idx = index.encode(table[key])
    code[idx[idx >= 0]] = found.to_numpy(zero_copy_only=False)[idx >= 0]
    return Segments(names, code) if names else NO_SEGMENTS
