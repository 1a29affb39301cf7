-- Removes a run's rows of users from the first to the last, to write them anew. Returns nothing.
-- Parameters: run_id, first, last; identifiers: table.
delete from {table}
where
    run_id = %(run_id)s
    and user_id between %(first)s and %(last)s
