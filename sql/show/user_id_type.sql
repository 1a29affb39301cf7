-- Returns the SQL type of the job's user ids; no row where the job was never migrated. Parameters:
-- schema.
select format_type(a.atttypid, null) as user_id_type
from pg_catalog.pg_attribute as a
where
    a.attrelid = to_regclass(quote_ident(%(schema)s) || '.top_n_list')
    and a.attname = 'user_id'
