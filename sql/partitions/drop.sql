-- Drops a table. Returns nothing. Identifiers: table.
drop table if exists {table}
