-- Returns the users, in no order: id, when it was created, whether it gets a list, its text, the
-- values of each column of categories, its numbers, its segment. Parameters: none (COPY takes none;
-- the parts are filled in).
select
    {user_value} as user_id,
    {created_value} as created_at,
    coalesce({active_value}, true) as active,
    {text_value} as text,
    {categories_value} as categories,
    {numbers_value} as numbers,
    {segment_value} as segment
from {relation}
where {user_value} is not null
