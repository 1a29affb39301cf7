-- Returns the foreign keys of one column: from which column of which table, to which. Parameters:
-- none.
select
    n.nspname::text as table_schema,
    c.relname::text as table_name,
    a.attname::text as column_name,
    fn.nspname::text as foreign_schema,
    fc.relname::text as foreign_table,
    fa.attname::text as foreign_column
from pg_catalog.pg_constraint as k
inner join pg_catalog.pg_class as c on k.conrelid = c.oid
inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
inner join pg_catalog.pg_attribute as a on k.conrelid = a.attrelid and k.conkey[1] = a.attnum
inner join pg_catalog.pg_class as fc on k.confrelid = fc.oid
inner join pg_catalog.pg_namespace as fn on fc.relnamespace = fn.oid
inner join pg_catalog.pg_attribute as fa on k.confrelid = fa.attrelid and k.confkey[1] = fa.attnum
where k.contype = 'f' and cardinality(k.conkey) = 1
