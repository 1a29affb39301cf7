"""The encoded log: every interaction before ``as_of``, ids replaced by indexes, user by user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recjobs.dataset.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from recjobs.errors import ConfigError, DataError
from recjobs.features import NO_FEATURES, Features
from recjobs.index import Index
from recjobs.segments import NO_SEGMENTS, Segments

#: `Interactions.item_created` of an item whose creation time is unknown.
NEVER = np.iinfo(np.int64).max
#: Columns of ``rows.arrow``; the users' and items' arrays are in ``log.npz``.
_ROWS: Final = ("user_idx", "item_idx", "ts", "rating", "event")
_SIDES: Final = ("eligible", "available", "item_created")


@dataclass(frozen=True, slots=True)
class Interactions:
    """The log of interactions before ``as_of``, encoded, ordered by (user, ts, item).

    Attributes:
        FILES: What `save` leaves, features apart.
        users: Every user with an interaction, and every eligible one.
        items: Every item with an interaction, and every one created before ``as_of``.
        user_idx: int32, ``(n_rows,)``; ascending.
        item_idx: int32, ``(n_rows,)``.
        ts: Microseconds since the epoch, UTC, int64, ``(n_rows,)``.
        rating: float32, ``(n_rows,)``; NaN where the source has none.
        event: Position in ``event_names``, int16, ``(n_rows,)``; -1 where the source has none.
        event_names: Distinct event types, ascending.
        eligible: bool, ``(n_users,)``; who gets a list.
        available: bool, ``(n_items,)``; what may be recommended.
        item_created: Microseconds, int64, ``(n_items,)``; `NEVER` where it is unknown.
        item_features: Of each item; without rows where nothing is known of any, or they were not
            loaded.
        user_features: Of each user, likewise.
        segments: Of the users.
    """

    FILES: ClassVar[tuple[str, ...]] = ("rows.arrow", "log.npz", "users.parquet", "items.parquet")

    users: Index
    items: Index
    user_idx: Int32Array
    item_idx: Int32Array
    ts: Int64Array
    rating: Float32Array
    event: npt.NDArray[np.int16]
    event_names: tuple[str, ...]
    eligible: BoolArray
    available: BoolArray
    item_created: Int64Array
    item_features: Features = NO_FEATURES
    user_features: Features = NO_FEATURES
    segments: Segments = NO_SEGMENTS

    def __post_init__(self) -> None:
        n_rows = len(self.ts)
        for name in ("user_idx", "item_idx", "rating", "event"):
            _expect_length(name, getattr(self, name), n_rows)
        if (self.user_idx[1:] < self.user_idx[:-1]).any():
            raise DataError("user_idx: expected users in ascending order. Received: rows out of it")
        _expect_length("eligible", self.eligible, len(self.users))
        for name in ("available", "item_created"):
            _expect_length(name, getattr(self, name), len(self.items))
        for side, index in (("item", self.items), ("user", self.users)):
            rows = len(getattr(self, f"{side}_features"))
            if rows not in (0, len(index)):
                raise DataError(f"{side}_features: expected {len(index)} rows. Received: {rows}")
        if self.segments.names:
            _expect_length("segments", self.segments.code, len(self.users))

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def indptr(self) -> Int64Array:
        """Where each user's rows begin, int64, ``(n_users + 1,)``."""
        users = np.arange(len(self.users) + 1, dtype=np.int32)  # of one type, or all are cast
        return np.searchsorted(self.user_idx, users).astype(np.int64, copy=False)

    def event_codes(self, names: Sequence[str], setting: str) -> list[int]:
        """Return the positions in ``event_names`` of those that the log has.

        Args:
            names: Event types.
            setting: Where in ``[feedback]`` they were named.

        Raises:
            ConfigError: It has none of them. One of several may be rare and absent on some night;
                all of them absent is a wrong name.
        """
        codes = [self.event_names.index(name) for name in names if name in self.event_names]
        if not codes:
            raise ConfigError(
                f"feedback.{setting}: expected event types of the data, {list(self.event_names)}. "
                f"Received: {list(names)}"
            )
        return codes

    def save(self, folder: Path) -> None:
        """Write the log, both indexes and both sides' features into a folder."""
        rows = pa.record_batch({name: pa.array(getattr(self, name)) for name in _ROWS})
        with pa.ipc.new_file(folder / "rows.arrow", rows.schema) as file:
            file.write_batch(rows)
        np.savez(
            folder / "log.npz",
            allow_pickle=False,
            **{name: getattr(self, name) for name in _SIDES},
            event_names=np.array(self.event_names, dtype=str),
            segment_names=np.array(self.segments.names, dtype=str),
            segment=self.segments.code,
        )
        self.users.save(folder / "users.parquet")
        self.items.save(folder / "items.parquet")
        self.item_features.save(folder / "item_features.parquet")
        self.user_features.save(folder / "user_features.parquet")

    @classmethod
    def load(
        cls,
        rows: Path,
        log: Path,
        users: Path,
        items: Path,
        item_features: Path | None = None,
        user_features: Path | None = None,
    ) -> Interactions:
        """Read what `save` wrote, from the paths of `FILES`; features only where asked for.

        The rows are mapped, not read: their arrays can't be written.
        """
        with np.load(log, allow_pickle=False) as arrays:
            values: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        batch = pa.ipc.open_file(pa.memory_map(str(rows))).get_batch(0)
        values |= {name: batch[name].to_numpy() for name in _ROWS}
        names = tuple(str(name) for name in values.pop("event_names"))
        segments = tuple(str(name) for name in values.pop("segment_names"))
        values["segments"] = Segments(segments, values.pop("segment"))
        if item_features is not None:
            values["item_features"] = Features.load(item_features)
        if user_features is not None:
            values["user_features"] = Features.load(user_features)
        return cls(Index.load(users), Index.load(items), event_names=names, **values)


def _expect_length(name: str, array: npt.NDArray[np.generic], expected: int) -> None:
    if array.shape != (expected,):
        raise DataError(f"{name}: expected shape ({expected},). Received: {array.shape}")
