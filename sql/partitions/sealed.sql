-- Returns whether a table has its key. Parameters: table, quoted.
select exists(
    select from pg_catalog.pg_index
    where
        indrelid = to_regclass(%(table)s)
        and indisprimary
) as is_sealed
