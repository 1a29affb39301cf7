-- Returns what of a run decides whether it goes live. Parameters: run_id. Caller: recjobs/live.py.
select
    as_of,
    overrides,
    lists_in
from {schema}.run
where run_id = %(run_id)s
