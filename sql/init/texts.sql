-- Returns what some ten thousand texts of a column look like: how many there are and how many
-- differ, how long they are, and which shares hold a bar, a comma and a semicolon.
-- Parameters: none (the parts are filled in).
select
    count(*) as n_texts,
    count(distinct seen.value_text) as n_distinct,
    coalesce(avg(length(seen.value_text)), 0)::float8 as mean_length,
    coalesce(avg((position('|' in seen.value_text) > 0)::integer), 0)::float8 as bar_share,
    coalesce(avg((position(',' in seen.value_text) > 0)::integer), 0)::float8 as comma_share,
    coalesce(avg((position(';' in seen.value_text) > 0)::integer), 0)::float8 as semicolon_share
from (
    select {value}::text as value_text
    from {relation}
    where {value} is not null
    limit 10000 -- noqa: AM09
) as seen
