-- Closes the open publication. Returns nothing. Parameters: at, rolled_back.
update {schema}.publication set
    live_until = %(at)s,
    rolled_back = %(rolled_back)s
where live_until is null
