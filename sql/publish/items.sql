-- Adds a run's items and describes anew those that no run of a later as_of has described. Returns
-- nothing. Parameters: run_id; identifiers: schema, table.
insert into {schema}.item as known (item_id, title, available, as_of, run_id)
select
    loaded.item_id,
    loaded.title,
    loaded.available,
    r.as_of,
    r.run_id
from {table} as loaded
cross join {schema}.run as r
where r.run_id = %(run_id)s
order by loaded.item_id
on conflict (item_id) do update set
    title = excluded.title,
    available = excluded.available,
    as_of = excluded.as_of,
    run_id = excluded.run_id
where known.as_of <= excluded.as_of
