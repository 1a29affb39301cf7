-- Gives a table to the owner of the stored lists, whichever of its members made it. Returns
-- nothing. Identifiers: table, owner.
alter table {table} owner to {owner}
