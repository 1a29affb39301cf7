-- Creates an empty table for one run's lists, outside the partitioned tables so that no reader's
-- lock is in its way. Returns nothing. Identifiers: table, parent.
create table {table} (like {parent} including comments)
