-- Counts what the planner needs to know of a table. Returns nothing. Identifiers: table. Caller:
-- recjobs/partitions.py.
analyze {table}
