-- Returns the best n items for one user, with titles, as an application would get them. Parameters:
-- user_id (as text, of the ids' type), n (null: as many as one gets who asks for no number).
select
    r.rank,
    r.item_id,
    i.title,
    r.score,
    r.source,
    r.because_item_id,
    because.title as because_title,
    r.because_features
from {schema}.recommend(%(user_id)s, %(n)s) as r
left join {schema}.item as i on r.item_id = i.item_id
left join {schema}.item as because on r.because_item_id = because.item_id
order by r.rank
