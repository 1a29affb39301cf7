-- Returns the checks without which no run may be promoted and that this one did not pass.
-- Parameters: run_id.
select
    name,
    message
from {schema}.check_result
where
    run_id = %(run_id)s
    and stage = 'check'
    and name in ('completeness', 'seen_items')
    and not passed
order by name
