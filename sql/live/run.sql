-- Returns what of a run decides whether it goes live. Parameters: run_id.
select
    as_of,
    overrides,
    lists_in,
    decision
from {schema}.run
where run_id = %(run_id)s
