-- Gives the lease back, unless a process of the run is at work under it. Returns nothing.
-- Parameters: run_id.
delete from {schema}.lease
where
    run_id = %(run_id)s
    and (not at_work or expires_at <= clock_timestamp())
