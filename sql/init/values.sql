-- Returns the distinct values in some ten thousand rows, whichever come first, as text, the
-- frequent ones first. Parameters: none (the parts are filled in).
select
    seen.value_text,
    count(*) as n_rows
from (
    select {value}::text as value_text
    from {relation}
    where {value} is not null
    limit 10000 -- noqa: AM09
) as seen
group by seen.value_text
order by n_rows desc, seen.value_text asc
limit 200
