-- Returns one row: whether the relation is a table, its size in bytes with its partitions, and
-- whether a valid index without a condition begins with the column. Parameters: relation, quoted as
-- in SQL; column.
select
    c.relkind in ('r', 'p', 'm') as is_table,
    c.relkind = 'p' as is_partitioned,
    coalesce((
        select sum(pg_catalog.pg_relation_size(t.relid))
        from pg_catalog.pg_partition_tree(c.oid) as t
    ), pg_catalog.pg_relation_size(c.oid))::bigint as bytes,
    exists(
        select from pg_catalog.pg_index as i
        inner join pg_catalog.pg_attribute as a on i.indrelid = a.attrelid and i.indkey[0] = a.attnum
        where i.indrelid = c.oid and i.indisvalid and i.indpred is null and a.attname = %(column)s
    ) as has_index
from pg_catalog.pg_class as c
where c.oid = to_regclass(%(relation)s)
