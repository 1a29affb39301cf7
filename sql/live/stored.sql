-- Records where a run's lists are, and how long one is. Returns nothing. Parameters: run_id,
-- lists_in, n (null: as it was).
update {schema}.run set
    lists_in = %(lists_in)s,
    n = coalesce(%(n)s, n)
where run_id = %(run_id)s
