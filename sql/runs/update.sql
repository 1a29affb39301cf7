-- Changes columns of a run: those that the object `changes` names; counts and timings are merged.
-- Returns one row, none where there is no such run. Parameters: run_id, changes.
-- The row is locked before it is read: what another process changes of it meanwhile stays changed.
update {schema}.run as r set
    status = c.status,
    stage = c.stage,
    error = c.error,
    dry_run = c.dry_run,
    snapshot_digest = c.snapshot_digest,
    n = c.n,
    published_source = c.published_source,
    decision = c.decision,
    rule = c.rule,
    champion_run_id = c.champion_run_id,
    reference_run_id = c.reference_run_id,
    why_not_live = c.why_not_live,
    warm_nights = c.warm_nights,
    host = c.host,
    artifacts = c.artifacts,
    files_removed_at = c.files_removed_at,
    counts = r.counts || c.counts,
    timings = r.timings || c.timings,
    finished_at = case when c.status != 'running' then coalesce(r.finished_at, clock_timestamp()) end
from (
    select locked as row
    from {schema}.run as locked
    where locked.run_id = %(run_id)s
    for update
) as old
cross join lateral jsonb_populate_record(old.row, %(changes)s::jsonb) as c
where r.run_id = c.run_id
returning r.run_id
