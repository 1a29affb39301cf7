-- Removes a run's metrics, to record them anew. Parameters: run_id.
delete from {schema}.metric
where run_id = %(run_id)s
