-- Copies one run's lists into a table. Returns nothing. Parameters: run_id; identifiers: table,
-- origin.
insert into {table} (
    user_id,
    run_id,
    item_ids,
    scores,
    sources,
    because_item_ids,
    because_features,
    reason
)
select
    user_id,
    run_id,
    item_ids,
    scores,
    sources,
    because_item_ids,
    because_features,
    reason
from {origin}
where run_id = %(run_id)s
order by user_id
