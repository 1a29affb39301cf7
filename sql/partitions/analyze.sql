-- Counts what the planner needs to know of a table; counting the arrays' elements, which nothing
-- needs, takes longer than all the rest. Returns nothing. Identifiers: table.
analyze {table} (user_id, run_id)
