-- Returns a table or view as the search path finds it: its oid, and about how many pages it has if
-- it is a plain table that the role may ask for a row's place (rights to columns do not cover it),
-- else 0; no row where there is none. Parameters: name, quoted as in SQL.
select
    oid as relation,
    case
        when relkind = 'r' and pg_catalog.has_table_privilege(oid, 'select') then relpages
        else 0
    end as pages
from pg_catalog.pg_class
where oid = to_regclass(%(name)s)
