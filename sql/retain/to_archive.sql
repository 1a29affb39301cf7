-- Returns the attached runs that are to leave: neither live nor, of those that were, among the
-- last. A run at work is left alone. Parameters: attached.
with standing as (
    select
        r.run_id,
        max(p.live_from) as last_live,
        rank() over (order by max(p.live_from) desc nulls last) as place
    from {schema}.run as r
    left join {schema}.publication as p on r.run_id = p.run_id
    where r.lists_in = 'top_n_list'
    group by r.run_id
)

select s.run_id
from standing as s
where
    (s.last_live is null or s.place > %(attached)s)
    and s.run_id not in (select live.run_id from {schema}.live)
    and not exists (
        select from {schema}.lease as l
        where
            l.run_id = s.run_id
            and s.last_live is null
    )
order by s.run_id
