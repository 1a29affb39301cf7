-- Returns the interactions before an instant, in no order: ids, time, and rating and event where the
-- source has them. A row without a time is read too: to be counted and set aside, rather than to
-- vanish here. Parameters: none (COPY takes none; the parts are filled in).
select {columns}
from {relation}
where ({before})
