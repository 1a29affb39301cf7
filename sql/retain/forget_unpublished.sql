-- Removes what goes with lists that were never published, of runs that ended too long ago; one at
-- work is left alone. Returns nothing. Parameters: days; identifiers: schema, table.
delete from {table}
where run_id in (
    select r.run_id
    from {schema}.run as r
    where
        r.lists_in is null
        and coalesce(r.finished_at, r.started_at)
        <= clock_timestamp() - make_interval(days => %(days)s)
        and r.run_id not in (select at_work.run_id from {schema}.lease as at_work)
)
