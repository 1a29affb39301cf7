-- Returns one row: the least and the greatest rating, and the least of the upper quarter between them.
-- Parameters: none (the parts are filled in).
with rated as (
    -- By way of its text a real 4.1 is 4.1, and not 4.099999904632568.
    select seen.rating::text::numeric as rating
    from (
        select distinct {rating_value} as rating
        from {relation}
        where {rating_value} > '-infinity'::float8 and {rating_value} < 'infinity'::float8
    ) as seen
),

scale as (
    select
        min(rated.rating) as least,
        max(rated.rating) as greatest
    from rated
)

select
    scale.least::float8 as least,
    scale.greatest::float8 as greatest,
    (
        select min(rated.rating)
        from rated
        where rated.rating >= scale.least + 0.75 * (scale.greatest - scale.least)
    )::float8 as positive_at
from scale
