-- Returns the items, in no order: id, title, when it was created, whether it may be recommended,
-- its text, the values of each column of categories, its numbers.
-- Parameters: none (COPY takes none; the parts are filled in).
select
    {item_value} as item_id,
    {title_value} as title,
    {created_value} as created_at,
    coalesce({available_value}, true) as available,
    {text_value} as text,
    {categories_value} as categories,
    {numbers_value} as numbers
from {relation}
where {item_value} is not null
