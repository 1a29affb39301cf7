-- Returns the process that answers. Parameters: none.
select pg_catalog.pg_backend_pid() as pid
