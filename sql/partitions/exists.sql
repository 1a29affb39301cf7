-- Returns whether there is such a table. Parameters: table, quoted.
select to_regclass(%(table)s) is not null as is_there
