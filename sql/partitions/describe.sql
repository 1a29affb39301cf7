-- Says in its comment which lists a table is for. Returns nothing. Parameters: digest; identifiers:
-- table.
comment on table {table} is %(digest)s  -- noqa: PRS, where a value is read as a number
