-- Returns one metric over all users, night by night up to as_of, oldest first: of each night the
-- newest run that measured it. Parameters: metric, as_of, many (nights).
with night as (
    select distinct on (r.as_of)
        r.run_id,
        r.as_of
    from {schema}.run as r
    where
        r.as_of <= %(as_of)s
        and exists (
            select from {schema}.metric as m
            where
                m.run_id = r.run_id
                and m.metric = %(metric)s
        )
    order by
        r.as_of desc,
        r.run_id desc
    limit %(many)s
)

select
    night.run_id,
    night.as_of,
    m.model,
    m.value,
    m.low,
    m.high,
    exists(
        select from {schema}.publication as p
        where p.run_id = night.run_id
    ) as was_live
from night
inner join {schema}.metric as m on night.run_id = m.run_id
where
    m.metric = %(metric)s
    and m.segment = 'all'
order by
    night.as_of asc,
    m.model asc
