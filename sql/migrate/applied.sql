-- Returns the applied migrations in order. Placeholders: schema. Caller: recjobs/migrate.py.
select
    number,
    name,
    checksum,
    user_id_type,
    item_id_type
from {schema}.migration
order by number
