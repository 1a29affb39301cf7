-- Returns the owner of the job's schema and whether it has a table of migrations; no row where
-- there is no such schema. Parameters: schema.
select
    pg_catalog.pg_get_userbyid(n.nspowner) as owner,
    exists(
        select from pg_catalog.pg_class as c
        where
            c.relnamespace = n.oid
            and c.relname = 'migration'
    ) as has_migrations
from pg_catalog.pg_namespace as n
where n.nspname = %(schema)s
