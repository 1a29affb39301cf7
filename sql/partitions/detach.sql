-- Detaches a run's lists without making a reader wait; not inside a transaction. Returns nothing.
-- Identifiers: parent, table.
alter table {parent} detach partition {table} concurrently
