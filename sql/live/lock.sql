-- Waits for another process that moves this job's lists or pointer; held until the transaction
-- ends. Returns one row. Parameters: schema.
select pg_advisory_xact_lock(hashtextextended('recjobs live ' || %(schema)s, 0))
