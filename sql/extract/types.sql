-- Returns the SQL name of each type; a domain gives the name of the type below it. The extension's
-- type citext has no schema before its name, wherever the extension was put.
-- Parameters: types, their oids.
with recursive walk as (
    select
        t.oid as origin,
        t.oid,
        t.typname,
        t.typbasetype
    from pg_catalog.pg_type as t
    where t.oid = any(%(types)s::oid[])
    union all
    select
        walk.origin,
        t.oid,
        t.typname,
        t.typbasetype
    from walk
    inner join pg_catalog.pg_type as t on walk.typbasetype = t.oid
)

select
    origin,
    case when typname = 'citext' then 'citext' else pg_catalog.format_type(oid, null) end as name
from walk
where typbasetype = 0
