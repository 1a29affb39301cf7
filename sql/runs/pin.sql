-- Returns who pinned the live run and why; no row where nothing is pinned. Parameters: none.
select
    l.run_id,
    l.pinned_by,
    l.pinned_why
from {schema}.live as l
where l.pinned
