-- Returns runs whose files are to go: of those opened before the newest that did anything, which are
-- kept, what is neither attached (the live run is; so are the next night's champion and the run to go
-- back to) nor held since the live run, for a person may still promote that, nor at work: it is this
-- run, or one that began in the last days and waits for its turn. Parameters: run_id, keep, many.
select
    r.run_id,
    r.artifacts,
    r.host
from {schema}.run as r
where
    r.run_id not in (
        select newest.run_id from {schema}.run as newest
        where newest.timings <> jsonb_build_object()
        order by newest.run_id desc
        limit %(keep)s
    )
    and r.run_id <> %(run_id)s
    and not (r.status = 'running' and r.started_at > now() - interval '7 days')
    and r.files_removed_at is null
    and r.lists_in is distinct from 'top_n_list'
    and not (
        r.status = 'held'
        and r.as_of > coalesce(
            (
                select of_live.as_of from {schema}.live
                inner join {schema}.run as of_live on live.run_id = of_live.run_id
            ),
            '-infinity'
        )
    )
order by r.run_id desc
limit %(many)s
