-- Drops a table. Returns nothing. Identifiers: table. Caller: recjobs/partitions.py, recjobs/sweep.py.
drop table if exists {table}
