-- Returns the interactions before an instant, in no order: ids, time, rating, event. A row without
-- a time is read too: to be counted and set aside, rather than to vanish here. Parameters: none
-- (COPY takes none; the parts are filled in).
select
    {user_value} as user_id,
    {item_value} as item_id,
    {ts_value} as ts,
    {rating_value} as rating,
    {event_value} as event
from {relation}
where {before}
