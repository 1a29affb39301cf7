-- Returns the users, in no order: id, when it was created, whether it gets a list, its text, then a
-- text for each column of categories, then its numbers, then its segment. Parameters: none (COPY
-- takes none; the parts are filled in).
select {columns}
from {relation}
where {user_value} is not null
