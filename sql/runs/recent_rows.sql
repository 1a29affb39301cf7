-- Returns how many accepted rows the newest stored run of each earlier as_of had, newest first.
-- Parameters: before, many.
select rows_counted
from (
    select distinct on (as_of)
        as_of,
        (counts ->> 'rows')::bigint as rows_counted
    from {schema}.run
    where
        status = 'stored'
        and as_of < %(before)s
        and counts ? 'rows'
    order by
        as_of desc,
        run_id desc
) as nights
order by as_of desc
limit %(many)s
