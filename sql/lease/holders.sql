-- Returns the processes of a run that hold the lease, and the one that keeps it between two stages.
-- Parameters: run_id.
select
    run_id,
    holder,
    at_work,
    acquired_at,
    expires_at,
    extract(epoch from expires_at - renewed_at)::double precision as ttl,
    extract(epoch from clock_timestamp() - renewed_at)::double precision as silent
from {schema}.lease
where
    expires_at > clock_timestamp()
    and run_id = %(run_id)s
