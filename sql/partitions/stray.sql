-- Returns tables of lists that no run counts on any more: partitions of runs whose lists are
-- elsewhere by now, and tables that a killed process left outside. One row each: table, its parent
-- (null: none), whether a detach of it was interrupted. A run at work is left alone. Parameters:
-- schema.
with stored as (
    select
        c.relname as name,
        i.inhparent::regclass as parent,
        coalesce(i.inhdetachpending, false) as detaching,
        substring(c.relname from '^top_n_(?:list|archive|load)_([0-9]+)$')::bigint as run_id
    from pg_catalog.pg_class as c
    inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
    left join pg_catalog.pg_inherits as i on c.oid = i.inhrelid
    where
        n.nspname = %(schema)s
        and c.relkind = 'r'
        and c.relname ~ '^top_n_(list|archive|load)_[0-9]+$'
)

select
    s.name,
    p.relname as parent,
    s.detaching
from stored as s
left join {schema}.run as r on s.run_id = r.run_id
left join pg_catalog.pg_class as p on s.parent = p.oid
where
    (s.detaching or p.relname is null or p.relname is distinct from r.lists_in)
    and not exists (
        select from {schema}.lease as l
        where
            l.run_id = s.run_id
            and p.relname is null
    )
order by s.run_id
