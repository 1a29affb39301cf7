-- Returns the tables and views that could be a source, one row each: schema, name, whether it is a
-- view, whether this role may read it, the planner's guess at its rows (negative where it has
-- none). Schemas of recjobs jobs are left out. Parameters: schema (null for all).
select
    n.nspname::text as table_schema,
    c.relname::text as table_name,
    c.relkind = 'v' as is_view,
    pg_catalog.has_schema_privilege(n.oid, 'usage')
    and pg_catalog.has_table_privilege(c.oid, 'select') as is_readable,
    c.reltuples::bigint as guessed_rows
from pg_catalog.pg_class as c
inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
where
    c.relkind in ('r', 'p', 'v', 'm', 'f')
    and not c.relispartition
    and n.nspname <> 'information_schema'
    and n.nspname !~ '^pg_'
    and (%(schema)s::text is null or n.nspname = %(schema)s)
    and not exists (
        select from pg_catalog.pg_class as ours
        where ours.relnamespace = n.oid and ours.relname = 'top_n_list'
    )
order by 1, 2
