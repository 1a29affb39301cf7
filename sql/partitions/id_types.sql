-- Returns the types of user and item ids, fixed when the schema was made. Parameters: none.
select
    user_id_type,
    item_id_type
from {schema}.migration
order by number
limit 1
