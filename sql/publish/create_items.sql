-- Creates a table to load a run's items into, for the length of the transaction. Returns nothing.
-- Identifiers: table, schema.
create table {table} as
select
    item_id,
    title,
    available
from {schema}.item
with no data
