-- Removes the rows that the one taken just now takes the place of: all but those of the same run's
-- other parts, at work beside it. Returns nothing. Parameters: run_id, part.
delete from {schema}.lease
where
    part != %(part)s
    and (run_id != %(run_id)s or not at_work or '' in (part, %(part)s))
