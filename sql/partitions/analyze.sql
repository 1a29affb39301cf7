-- Counts what the planner needs to know of a table; counting the arrays' elements, which nothing
-- needs, takes longer than all the rest. Returns nothing. Identifiers: table. Caller:
-- recjobs/partitions.py.
analyze {table} (user_id, run_id)
