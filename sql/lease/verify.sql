-- Returns a row or more where the run holds the lease, and keeps it from being taken until the
-- transaction ends. Parameters: run_id.
select run_id
from {schema}.lease
where
    run_id = %(run_id)s
    and expires_at > clock_timestamp()
for update
