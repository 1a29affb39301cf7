-- Limits how long this session waits for a lock: a detach is not inside a transaction. Returns
-- nothing. Parameters: limit, in milliseconds.
set lock_timeout = %(limit)s
