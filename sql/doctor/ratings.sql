-- Returns one row: whether any interaction is a positive, which one without a rating is too; where
-- none is, the greatest rating, null where no rating is finite (a night sets such aside); and whether
-- there are rows at all. A night compares in the precision of a real. Parameters: positive_at.
select
    found.has_positive,
    case
        when not found.has_positive then (
            select max(seen.rating)
            from (select {rating_value} as rating from {relation}) as seen
            where seen.rating > '-infinity'::float8 and seen.rating < 'infinity'::float8
        )
    end as greatest,
    exists(select from {relation}) as has_rows
from (
    select exists(
        select from (select {rating_value} as rating from {relation}) as seen
        where
            seen.rating is null
            or case
                when seen.rating not between -3.4e38 and 3.4e38 then false
                when abs(seen.rating) < 1e-37 then %(positive_at)s::real <= 0
                else seen.rating::real >= %(positive_at)s::real
            end
    ) as has_positive
) as found
