-- Renews the lease, or hands it over to the run's next stage. Returns one row, none if it was lost.
-- Parameters: run_id, holder, part, at_work, seconds.
update {schema}.lease set
    at_work = %(at_work)s,
    renewed_at = clock_timestamp(),
    expires_at = clock_timestamp() + %(seconds)s * interval '1 second'
where
    run_id = %(run_id)s
    and holder = %(holder)s
    and part = %(part)s
returning run_id
