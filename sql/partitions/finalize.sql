-- Ends a detach that was interrupted. Returns nothing. Identifiers: parent, table.
alter table {parent} detach partition {table} finalize
