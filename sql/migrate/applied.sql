-- Returns the applied migrations in order. Placeholders: schema.
select
    number,
    name,
    checksum,
    user_id_type,
    item_id_type
from {schema}.migration
order by number
