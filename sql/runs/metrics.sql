-- Returns the metrics of a model of a run over all users, where they are defined.
-- Parameters: run_id, model.
select
    m.metric,
    m.value
from {schema}.metric as m
where
    m.run_id = %(run_id)s
    and m.model = %(model)s
    and m.segment = 'all'
    and m.value <> 'NaN'
order by m.metric
