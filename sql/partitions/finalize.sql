-- Ends a detach that was interrupted. Returns nothing. Identifiers: parent, table. Caller:
-- recjobs/sweep.py.
alter table {parent} detach partition {table} finalize
