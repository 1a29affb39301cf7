-- Waits for another process that takes this job's lease; held until the transaction ends. Returns
-- one row. Parameters: schema.
select pg_advisory_xact_lock(hashtextextended('recjobs lease ' || %(schema)s, 0))
