-- Returns the items, in no order: id, title, when it was created, whether it may be recommended,
-- its text, then a text for each column of categories, then its numbers.
-- Parameters: none (COPY takes none; the parts are filled in).
select {columns}
from {relation}
where {item_value} is not null
