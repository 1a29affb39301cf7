-- Pins or unpins the live run. Returns one row, none where nothing is live. Parameters: pinned,
-- pinned_by, pinned_why.
update {schema}.live set
    pinned = %(pinned)s,
    pinned_by = %(pinned_by)s,
    pinned_why = %(pinned_why)s
returning run_id
