-- Returns how many rows a run has in a table, of users from the first to the last. Parameters:
-- run_id, first, last (both null: all); identifiers: table.
select count(*) as n_rows
from {table}
where
    run_id = %(run_id)s
    and (%(first)s is null or user_id between %(first)s and %(last)s)
