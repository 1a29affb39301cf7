"""The nearest items of those that are often on lists: found once, instead of for every list."""

from __future__ import annotations

from typing import Final

import numpy as np

from recjobs.dataset import BoolArray, Float32Array, Int32Array, Int64Array, SeenItems
from recjobs.topn import FactorRanker

#: How many are kept of an item: nearly every list's reason is among them.
_NEAREST: Final = 64
#: Cosines that a search for them computes in the time that one of a history takes.
_SPEED: Final = 16


class Nearest:
    """What is nearest by cosine to items that have come up on enough lists for a search to pay.

    Args:
        unit: Vectors of length 1, float32 ``(n_items, dim)``; all 0 for an unknown item.
        known: bool, ``(n_items,)``; the others are near to nothing.

    Attributes:
        items: int32, ``(n_items, 64)``, nearest first, ties by item index, -1 padded, the item
            itself left out; without meaning where not `sought`.
        sought: bool, ``(n_items,)``.
    """

    def __init__(self, unit: Float32Array, known: BoolArray) -> None:
        self.items: Int32Array = np.empty((len(unit), _NEAREST), dtype=np.int32)
        self.sought: BoolArray = np.zeros(len(unit), dtype=np.bool_)
        self._unit = unit
        self._known = known
        self._cosines = np.zeros(len(unit))
        self._ranker: FactorRanker | None = None

    def seek(self, lists: Int32Array, history: Int64Array) -> None:
        """Count some lists, and search for what has come up often enough by now.

        Args:
            lists: int32, ``(b, n)``; -1 for an entry that does not count.
            history: Items in the history of each list's user, int64 ``(b,)``.
        """
        listed = lists >= 0
        cosines = np.broadcast_to(history[:, None], lists.shape)[listed]
        self._cosines += np.bincount(lists[listed], cosines, len(self._unit))
        due = ~self.sought & (self._cosines * _SPEED >= len(self._unit))
        if not due.any():
            return
        self._ranker = self._ranker or FactorRanker(self._unit, self._known)
        rows = np.flatnonzero(due).astype(np.int32)
        self.items[rows], _ = self._ranker.top_n(
            self._unit, rows, itself(len(self._unit)), _NEAREST
        )
        self.sought[rows] = True


def itself(n: int) -> SeenItems:
    """Return "seen items" that keep every item out of its own list."""
    indptr: Int64Array = np.arange(n + 1, dtype=np.int64)
    return SeenItems(indptr, np.arange(n, dtype=np.int32))
