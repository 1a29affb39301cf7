-- Limits how long this transaction waits for a lock. Returns one row. Parameters: milliseconds, as
-- text.
select set_config('lock_timeout', %(milliseconds)s, true) as lock_timeout
