-- Returns the run to go back to: of the runs that were live before the live one, the last that was
-- not taken back and is still kept. Parameters: none.
select r.run_id
from {schema}.publication as p
inner join {schema}.run as r on p.run_id = r.run_id
where
    r.run_id != (select live.run_id from {schema}.live)
    and r.lists_in in ('top_n_list', 'top_n_archive')
    and not exists (
        select from {schema}.publication as later
        where
            later.run_id = p.run_id
            and later.publication_id >= p.publication_id
            and later.rolled_back
    )
order by p.publication_id desc
limit 1
