-- Returns the run from whose weights a model of this name may start, and how many nights in a row
-- started so up to it: the newest night that was published as the settings say and not taken back.
-- Parameters: as_of, model.
select
    r.run_id,
    r.warm_nights
from {schema}.run as r
where
    r.as_of < %(as_of)s
    and r.model = %(model)s
    and r.status = 'stored'
    and r.published_source = 'model'
    and r.overrides = jsonb_build_object()
    and not exists (
        select from {schema}.publication as p
        where
            p.run_id = r.run_id
            and p.rolled_back
    )
order by
    r.as_of desc,
    r.run_id desc
limit 1
