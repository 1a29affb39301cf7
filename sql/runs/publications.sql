-- Returns when which run was live, newest first. Parameters: many.
select
    run_id,
    kind,
    live_from,
    live_until,
    rolled_back,
    decided_by,
    why
from {schema}.publication
order by publication_id desc
limit %(many)s
