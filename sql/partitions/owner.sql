-- Returns the role that owns the stored lists. Parameters: parent.
select pg_catalog.pg_get_userbyid(c.relowner) as owner
from pg_catalog.pg_class as c
where c.oid = pg_catalog.to_regclass(%(parent)s)
