-- Renames a table. Returns nothing. Identifiers: table, name.
alter table {table} rename to {name}
