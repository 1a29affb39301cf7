-- Returns how many interactions lie before an instant: as many as are kept of them, where none was
-- deleted or came late. Parameters: none (COPY takes none; the parts are filled in).
select count(*) as kept
from {relation}
where {earlier}
