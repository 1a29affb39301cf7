-- Points readers at a run. Returns nothing. Parameters: run_id, at.
insert into {schema}.live (run_id, since)
values (%(run_id)s, %(at)s)
on conflict (singleton) do update set
    run_id = excluded.run_id,
    since = excluded.since
