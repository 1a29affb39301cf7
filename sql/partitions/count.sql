-- Returns how many rows a table has. Identifiers: table.
select count(*) as n_rows
from {table}
