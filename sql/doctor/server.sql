-- Returns one row on the server and the session: version, role, whether it is a superuser, whether
-- the server is a replica, its clock, and the statement timeout in milliseconds. Parameters: none.
select
    current_setting('server_version_num')::integer as version,
    current_user::text as role,
    exists(
        select from pg_catalog.pg_roles as r
        where r.rolname = current_user and r.rolsuper
    ) as is_superuser,
    pg_catalog.pg_is_in_recovery() as is_replica,
    clock_timestamp() as clock,
    (
        select s.reset_val::bigint
        from pg_catalog.pg_settings as s
        where s.name = 'statement_timeout'
    ) as statement_timeout
