-- Removes a run's rejected rows, to record them anew. Parameters: run_id.
delete from {schema}.rejected_row
where run_id = %(run_id)s
