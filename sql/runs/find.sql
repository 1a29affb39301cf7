-- Returns runs, newest first (with by_night: of the newest as_of first); a null parameter does not
-- narrow the search. Parameters: run_id, request, as_of, settings_hash, code_version, seed,
-- training_threads, overrides (those seven together), before, once_live, kept (by
-- readers: no rollback took it back since it was last live), live, by_night, many.
select
    r.run_id,
    r.as_of,
    r.settings_hash,
    r.code_version,
    r.seed,
    r.training_threads,
    r.status,
    r.model,
    r.overrides,
    r.dry_run,
    r.request,
    r.supersedes,
    r.fresh,
    r.snapshot_digest,
    r.host,
    r.artifacts,
    r.decision,
    r.rule,
    r.published_source,
    r.error,
    r.stage,
    r.started_at,
    r.finished_at,
    r.timings,
    r.counts,
    r.champion_run_id,
    r.reference_run_id,
    r.n,
    r.lists_in,
    r.why_not_live,
    r.parent_run_id,
    r.warm_nights,
    r.files_removed_at,
    exists(
        select from {schema}.publication as p
        where p.run_id = r.run_id
    ) as ever_live
from {schema}.run as r
where
    (%(run_id)s::bigint is null or r.run_id = %(run_id)s)
    and (%(request)s::text is null or r.request = %(request)s)
    and (
        %(settings_hash)s::text is null
        or r.as_of = %(as_of)s::timestamptz
        and r.settings_hash = %(settings_hash)s
        and r.code_version = %(code_version)s
        and r.seed = %(seed)s
        and r.training_threads = %(training_threads)s
        and r.overrides = %(overrides)s::jsonb
    )
    and (%(before)s::timestamptz is null or r.as_of < %(before)s)
    and (not %(once_live)s or exists (
        select from {schema}.publication as p
        where p.run_id = r.run_id
    ))
    and (not %(kept)s or not coalesce((
        select p.rolled_back
        from {schema}.publication as p
        where p.run_id = r.run_id
        order by p.publication_id desc
        limit 1
    ), false))
    and (not %(live)s or exists (
        select from {schema}.live as l
        where l.run_id = r.run_id
    ))
order by
    case when %(by_night)s then r.as_of end desc nulls last,
    r.run_id desc
limit %(many)s
