-- Returns one row: who owns the job's schema (null where there is none), whether this role may act
-- as the owner, whether it may create a schema, whether it may create roles, and how many of the
-- job's roles exist. Parameters: schema, writer, reader.
select
    (
        select pg_catalog.pg_get_userbyid(n.nspowner)::text
        from pg_catalog.pg_namespace as n
        where n.nspname = %(schema)s
    ) as owner,
    (
        select pg_catalog.pg_has_role(n.nspowner, 'usage')
        from pg_catalog.pg_namespace as n
        where n.nspname = %(schema)s
    ) as may_own,
    has_database_privilege(current_database(), 'create') as may_create_schema,
    (
        select r.rolcreaterole or r.rolsuper
        from pg_catalog.pg_roles as r
        where r.rolname = current_user
    ) as may_create_roles,
    (
        select count(*)
        from pg_catalog.pg_roles as r
        where r.rolname in (%(writer)s, %(reader)s)
    ) as n_roles,
    current_user::text as role,
    current_database()::text as database
