-- Returns the event types that occur. Parameters: none (the parts are filled in).
select distinct {event_value}::text as event
from {relation}
where {event_value} is not null
order by event
