-- Attaches a run's lists. Returns nothing. Parameters: run_id; identifiers: parent, table.
alter table {parent} attach partition {table} for values in (%(run_id)s)
