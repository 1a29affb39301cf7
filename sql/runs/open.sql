-- Opens a run. Returns its id; no row where the key or the request has just been taken by another.
-- Parameters: the columns.
insert into {schema}.run (
    job,
    as_of,
    settings_hash,
    code_version,
    seed,
    training_threads,
    overrides,
    supersedes,
    fresh,
    request,
    dry_run,
    model,
    host,
    artifacts,
    parent_run_id,
    warm_nights
)
values (
    %(job)s,
    %(as_of)s,
    %(settings_hash)s,
    %(code_version)s,
    %(seed)s,
    %(training_threads)s,
    %(overrides)s,
    %(supersedes)s,
    %(fresh)s,
    %(request)s,
    %(dry_run)s,
    %(model)s,
    %(host)s,
    %(artifacts)s,
    %(parent_run_id)s,
    %(warm_nights)s
)
on conflict do nothing
returning run_id
