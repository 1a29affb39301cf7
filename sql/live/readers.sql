-- Returns the transactions that have read, or are about to read, the lists, and the process of each.
-- Parameters: parent.
select distinct
    l.virtualtransaction,
    l.pid
from pg_catalog.pg_locks as l
inner join pg_catalog.pg_database as d on l.database = d.oid
where
    d.datname = current_database()
    and l.locktype = 'relation'
    and l.relation = pg_catalog.to_regclass(%(parent)s)
    and l.pid != pg_backend_pid()
