-- Returns who holds the lease, expired or not; no row where it is free. Parameters: none.
select
    run_id,
    holder,
    at_work,
    acquired_at,
    expires_at,
    expires_at <= clock_timestamp() as expired,
    extract(epoch from expires_at - renewed_at)::double precision as ttl,
    extract(epoch from clock_timestamp() - renewed_at)::double precision as silent
from {schema}.lease
