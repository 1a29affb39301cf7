-- Opens a publication. Returns nothing. Parameters: the columns.
insert into {schema}.publication (run_id, kind, live_from, decided_by, why)
values (%(run_id)s, %(kind)s, %(at)s, %(decided_by)s, %(why)s)
