-- Returns what the live run says of one user: no row for a user that it has never seen. Parameters:
-- user_id (as text, of the ids' type).
select
    s.status,
    s.reason
from {schema}.user_status as s
where s.user_id = %(user_id)s
