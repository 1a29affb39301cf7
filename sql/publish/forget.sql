-- Removes a run's rows, to write them anew or because they are too old. Returns nothing.
-- Parameters: run_id; identifiers: table.
delete from {table}
where run_id = %(run_id)s
