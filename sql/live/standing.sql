-- Returns one row: the live run (null: none yet), its pin, the greatest as_of that was ever live
-- and whether a rollback ended that, whether one ended the given run, whether that was ever live,
-- and the time. Parameters: run_id.
with highest as (
    select
        r.as_of,
        p.rolled_back
    from {schema}.publication as p
    inner join {schema}.run as r on p.run_id = r.run_id
    order by
        r.as_of desc,
        p.publication_id desc
    limit 1
),

own as (
    select p.rolled_back
    from {schema}.publication as p
    where p.run_id = %(run_id)s
    order by p.publication_id desc
    limit 1
)

select
    live.run_id,
    coalesce(live.pinned, false) as pinned,
    live.pinned_by,
    live.pinned_why,
    highest.as_of as highest_as_of,
    coalesce(highest.rolled_back, false) as highest_rolled_back,
    coalesce(own.rolled_back, false) as rolled_back,
    own.rolled_back is not null as ever_live,
    clock_timestamp() as at
from (values (true)) as one (singleton)
left join {schema}.live on one.singleton = live.singleton
left join highest on true
left join own on true
