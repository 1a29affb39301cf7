-- Gives the lease back, but for the processes of the run that are at work under it. Returns nothing.
-- Parameters: run_id.
delete from {schema}.lease
where
    run_id = %(run_id)s
    and (not at_work or expires_at <= clock_timestamp())
