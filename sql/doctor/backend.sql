-- Returns the process that answers. Parameters: none. Caller: recjobs.doctor.servers.
select pg_catalog.pg_backend_pid() as pid
