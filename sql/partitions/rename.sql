-- Renames a table. Returns nothing. Identifiers: table, name. Caller: recjobs/partitions.py.
alter table {table} rename to {name}
