-- Returns the names of the tables and views that a message may offer instead of a missing one.
-- Parameters: none.
select
    case
        when pg_catalog.pg_table_is_visible(c.oid) then c.relname::text
        else n.nspname || '.' || c.relname
    end as name
from pg_catalog.pg_class as c
inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
where
    c.relkind in ('r', 'p', 'v', 'm', 'f')
    and not c.relispartition
    and n.nspname <> 'information_schema'
    and n.nspname !~ '^pg_'
order by 1
