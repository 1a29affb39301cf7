-- Returns of some ten thousand rows, whichever come first, how many there are, and how many
-- distinct users, items and pairs are in them. Parameters: none (the parts are filled in).
select
    count(*) as n_rows,
    count(distinct seen.user_id) as n_users,
    count(distinct seen.item_id) as n_items,
    count(distinct row(seen.user_id, seen.item_id)) as n_pairs
from (
    select
        {user_value} as user_id,
        {item_value} as item_id
    from {relation}
    limit 10000 -- noqa: AM09
) as seen
