-- Returns the users, in no order: id, when it was created, whether it gets a list. Parameters: none
-- (COPY takes none; the parts are filled in).
select
    {user_value} as user_id,
    {created_value} as created_at,
    coalesce({active_value}, true) as active
from {relation}
where {user_value} is not null
