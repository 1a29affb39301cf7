-- Takes the job's lease where it is free, expired, the run's own and not at work elsewhere, or held
-- by a process that is known to be dead. Returns one row where it was taken, none where not.
-- Parameters: run_id, holder, at_work, seconds, dead (a dead holder or null).
insert into {schema}.lease as held (run_id, holder, at_work, acquired_at, renewed_at, expires_at)
values (
    %(run_id)s,
    %(holder)s,
    %(at_work)s,
    clock_timestamp(),
    clock_timestamp(),
    clock_timestamp() + %(seconds)s * interval '1 second'
)
on conflict (singleton) do update
    set
        run_id = excluded.run_id,
        holder = excluded.holder,
        at_work = excluded.at_work,
        acquired_at
        = case when held.run_id = excluded.run_id then held.acquired_at else excluded.acquired_at end,
        renewed_at = excluded.renewed_at,
        expires_at = excluded.expires_at
    where
    held.expires_at <= clock_timestamp()
    or held.run_id = excluded.run_id and (not held.at_work or held.holder = excluded.holder)
    or held.at_work and held.holder = %(dead)s
returning held.run_id
