-- Returns the owner of the job's schema, whether it has a table of migrations, and whether it holds
-- relations without one, which are then none of ours; no row where there is no such schema.
-- Parameters: schema.
select
    pg_catalog.pg_get_userbyid(n.nspowner) as owner,
    coalesce(bool_or(c.relname = 'migration'), false) as has_migrations,
    coalesce(not bool_or(c.relname = 'migration'), false) as is_taken
from pg_catalog.pg_namespace as n
left join pg_catalog.pg_class as c on n.oid = c.relnamespace
where n.nspname = %(schema)s
group by n.nspowner
