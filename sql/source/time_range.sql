-- Returns the least and the greatest of some thousand times, whichever come first. Parameters: none
-- (the parts are filled in).
select
    min(seen.moment) as least,
    max(seen.moment) as greatest
from (
    select {time_value} as moment
    from {relation}
    where {time_value} is not null
    limit 10000 -- noqa: AM09
) as seen
