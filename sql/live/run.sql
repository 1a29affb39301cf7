-- Returns what of a run decides whether it goes live, and which run that superseded it has been live.
-- Parameters: run_id.
with recursive later as (
    select r.run_id
    from {schema}.run as r
    where r.supersedes = %(run_id)s
    union all
    select r.run_id
    from {schema}.run as r
    inner join later on r.supersedes = later.run_id
)

select
    own.as_of,
    own.overrides,
    own.lists_in,
    own.decision,
    own.published_source,
    (
        select max(p.run_id)
        from {schema}.publication as p
        inner join later on p.run_id = later.run_id
    ) as superseded_by
from {schema}.run as own
where own.run_id = %(run_id)s
