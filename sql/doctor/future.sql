-- Returns how many rows lie in the future, counted up to a thousand, and the latest of these as
-- text. Parameters: none (the parts are filled in).
select
    count(*) as n_rows,
    max(seen.moment)::text as latest
from (
    select {time_value} as moment
    from {relation}
    where {since}
    limit 1000 -- noqa: AM09
) as seen
