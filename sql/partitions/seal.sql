-- Makes a filled table ready to be attached in a millisecond: its key, and a check that spares the
-- scan. Returns nothing. Parameters: run_id; identifiers: table.
alter table {table}
add primary key (user_id, run_id),
add check (run_id = %(run_id)s::bigint);
