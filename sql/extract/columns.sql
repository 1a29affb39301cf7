-- Returns a relation's columns in order: name, oid of the type, whether null is impossible.
-- Parameters: relation, its oid.
select
    attname::text as name,
    atttypid as type,
    attnotnull as not_null
from pg_catalog.pg_attribute
where attrelid = %(relation)s and attnum > 0 and not attisdropped
order by attnum
