-- Returns one row: whether any interaction is a positive, which one without a rating is too, and where
-- none is, the greatest rating. Ratings that are not finite are set aside by a night. Parameters:
-- positive_at.
select
    found.has_positive,
    case
        when not found.has_positive then (select max({rating_value})::float8 from {relation}) -- noqa: RF02
    end as greatest
from (
    select exists(
        select from {relation}
        where
            {rating_value} is null
            or (
                {rating_value}::real >= %(positive_at)s::real
                and {rating_value} < 'infinity'::float8
            )
    ) as has_positive
) as found
