-- Returns how many rows a table has. Identifiers: table. Caller: recjobs/partitions.py.
select count(*) as n_rows
from {table}
