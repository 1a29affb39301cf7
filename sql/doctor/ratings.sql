-- Returns the least and the greatest of some thousand ratings, whichever come first. Parameters:
-- none (the parts are filled in).
select
    min(seen.rating) as least,
    max(seen.rating) as greatest
from (
    select {rating_value}::float8 as rating
    from {relation}
    where {rating_value} is not null
    limit 10000 -- noqa: AM09
) as seen
