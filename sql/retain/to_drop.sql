-- Returns the archived runs whose lists are too old to be kept. A run at work, which may be about to
-- be promoted, is left alone. Parameters: days.
select r.run_id
from {schema}.run as r
left join {schema}.publication as p on r.run_id = p.run_id
where
    r.lists_in = 'top_n_archive'
    and r.run_id not in (select live.run_id from {schema}.live)
    and r.run_id not in (select at_work.run_id from {schema}.lease as at_work)
group by r.run_id
having
    greatest(max(p.live_until), coalesce(r.finished_at, r.started_at))
    <= clock_timestamp() - make_interval(days => %(days)s)
order by r.run_id
