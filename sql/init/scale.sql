-- Returns the least and the greatest rating of all. Parameters: none (the parts are filled in).
select
    min({rating_value})::float8 as least,
    max({rating_value})::float8 as greatest
from {relation}
