-- Creates a table to load a run's items into, for the length of the transaction. Returns nothing.
-- Identifiers: table, schema. Caller: recjobs/publish.py.
create table {table} as
select
    item_id,
    title,
    available
from {schema}.item
with no data
