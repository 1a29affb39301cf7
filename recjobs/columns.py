"""The one home of column names, id types and time units that modules share."""

from __future__ import annotations

from typing import Final, Literal

USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
TS: Final = "ts"
RATING: Final = "rating"
EVENT: Final = "event"
TITLE: Final = "title"
AVAILABLE: Final = "available"
ACTIVE: Final = "active"
CREATED_AT: Final = "created_at"
REASON: Final = "reason"
TEXT: Final = "text"
CATEGORIES: Final = "categories"
NUMBERS: Final = "numbers"
SEGMENT: Final = "segment"

#: Columns of the snapshot's ``interactions.parquet``, in this order.
INTERACTION_COLUMNS: Final = (USER_ID, ITEM_ID, TS, RATING, EVENT)
#: Columns of the snapshot's ``items.parquet``.
ITEM_COLUMNS: Final = (ITEM_ID, TITLE, CREATED_AT, AVAILABLE)
#: Columns of the snapshot's ``users.parquet``.
USER_COLUMNS: Final = (USER_ID, CREATED_AT, ACTIVE)
#: Further columns of both: string, list of ``column=value``, list of float32; see `features`.
FEATURE_COLUMNS: Final = (TEXT, CATEGORIES, NUMBERS)

IdType = Literal["bigint", "integer", "uuid", "text"]
#: The SQL types an id may have in the published tables; every other one is refused by name.
ID_TYPES: Final[tuple[IdType, ...]] = ("bigint", "integer", "uuid", "text")

#: The segment of users that everyone belongs to, as the published tables call it.
EVERYBODY: Final = "all"
#: The source of a list's item when it comes from the time-decayed popularity fallback.
POPULAR: Final = "popular"
#: How the evaluation calls the live run's model, whatever its name is.
CHAMPION: Final = "champion"
#: How it calls the model that an earlier night's weights would have given, on a control night.
WARM_START: Final = "warm start"

MICROSECONDS_PER_DAY: Final = 86_400_000_000
