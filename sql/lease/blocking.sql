-- Returns who keeps a run, or a part of its work, from the lease: another run, or another process
-- at work on the same part or on the whole. No row where it may be taken. Parameters: run_id,
-- holder, part (empty: the whole), dead (holders at work that are known to be dead).
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
    and not (at_work and holder = any(%(dead)s::text[]))
    and (
        run_id != %(run_id)s
        or (
            at_work
            and holder != %(holder)s
            and (part in ('', %(part)s) or %(part)s = '')
        )
    )
order by
    at_work desc,
    part asc
