-- Returns the distinct values as text, the frequent ones first. Parameters: none (the parts are filled
-- in).
select
    {value}::text as value_text,
    count(*) as n_rows
from {relation}
where {value} is not null
group by value_text
order by n_rows desc, value_text asc
limit 200
