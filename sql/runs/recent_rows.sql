-- Returns the newest stored run of each earlier as_of and how many rows it accepted, newest first.
-- Parameters: before, many.
select
    run_id,
    rows_counted
from (
    select distinct on (as_of)
        as_of,
        run_id,
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
