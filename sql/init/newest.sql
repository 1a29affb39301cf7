-- Returns the newest interaction that does not lie in the future, as an instant (of an epoch, as
-- microseconds). Parameters: none (the parts are filled in).
select max({instant}) as newest
from {relation}
where {before}
