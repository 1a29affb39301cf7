-- Removes a run that was opened fresh by nobody's request and in which nothing was done, unless it is
-- at work or superseded by now. Returns nothing. Parameters: run_id.
delete from {schema}.run as r
where
    r.run_id = %(run_id)s
    and r.fresh
    and r.request is null
    and r.stage is null
    and r.timings = jsonb_build_object()
    and not exists (
        select from {schema}.lease as l
        where l.run_id = r.run_id
    )
    and not exists (
        select from {schema}.run as later
        where later.supersedes = r.run_id
    )
