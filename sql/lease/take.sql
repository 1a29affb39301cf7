-- Takes the lease for a part of a run's work; that it may is known. Returns nothing. Parameters:
-- run_id, holder, part, at_work, seconds.
insert into {schema}.lease (
    part, run_id, holder, at_work, acquired_at, renewed_at, expires_at
)
select
    %(part)s::text as part,
    %(run_id)s as run_id,
    %(holder)s as holder,
    %(at_work)s as at_work,
    coalesce(min(acquired_at) filter (where run_id = %(run_id)s), clock_timestamp()) as acquired_at,
    clock_timestamp() as renewed_at,
    clock_timestamp() + %(seconds)s * interval '1 second' as expires_at
from {schema}.lease
on conflict (part) do update
    set
        run_id = excluded.run_id,
        holder = excluded.holder,
        at_work = excluded.at_work,
        acquired_at = excluded.acquired_at,
        renewed_at = excluded.renewed_at,
        expires_at = excluded.expires_at
