-- Gives the lease back, whoever of the run's processes holds it. Returns nothing.
-- Parameters: run_id. Caller: recjobs/lease.py.
delete from {schema}.lease
where run_id = %(run_id)s
