-- Returns the schemas of applications. Parameters: none.
select nspname::text as name
from pg_catalog.pg_namespace
where nspname <> 'information_schema' and nspname !~ '^pg_'
order by 1
