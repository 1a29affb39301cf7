-- What is known of an item can be the reason for it: the features that weighed most.
-- noqa: disable=LT02, which would put a line break before every `lateral (`

alter table {schema}.top_n_list add column because_features text[];
alter table {schema}.top_n_archive add column because_features text[];

comment on column {schema}.top_n_list.because_features is
'For each item, the features that weighed most, where the model recommends by features; else null.';

create or replace view {schema}.recommendations as
select
    l.user_id,
    shown.rank,
    shown.item_id,
    shown.score,
    shown.source,
    shown.because_item_id,
    r.run_id,
    r.as_of,
    r.model,
    (select pointer.since from {schema}.live as pointer) as published_at,
    shown.because_features
from {schema}.run as r
inner join {schema}.top_n_list as l on r.run_id = l.run_id
cross join lateral (
    select
        u.item_id,
        u.score,
        u.source,
        u.because_item_id,
        u.because_features,
        (row_number() over (order by u.place))::integer as rank
    from unnest(l.item_ids, l.scores, l.sources, l.because_item_ids, l.because_features)
    with ordinality as u (item_id, score, source, because_item_id, because_features, place)
    where not exists (
        select from {schema}.blocked_item as b
        where b.item_id = u.item_id
    )
    order by u.place
    limit r.n
) as shown
-- As a subquery, not a join: it is known before any scan begins, so that one partition is read, and
-- one row of `run`, whatever the planner thinks of tables as small as these.
where r.run_id = (select pointer.run_id from {schema}.live as pointer);

comment on column {schema}.recommendations.score is
'The model''s own, or the popularity of an entry of the fallback: comparable among entries of one '
'source on one list. The order is that of rank, which re-ranking may have changed.';
comment on column {schema}.recommendations.because_features is
'The features of the item that weighed most, the most telling first, joined by a comma: a word, a '
'category as column=value, or the name of a number; null where the model recommends by none.';

create or replace view {schema}.recommendations_history as
select
    l.user_id,
    u.rank::integer as rank,
    u.item_id,
    u.score,
    u.source,
    u.because_item_id,
    r.run_id,
    r.as_of,
    r.model,
    p.published_at,
    u.because_features
from (
    select
        *,
        'top_n_list' as place
    from {schema}.top_n_list
    union all
    select
        *,
        'top_n_archive' as place
    from {schema}.top_n_archive
) as l
-- A run on its way from one to the other is in both for a while: its row says which one counts.
inner join {schema}.run as r on l.run_id = r.run_id and l.place = r.lists_in
left join lateral (
    select min(publication.live_from) as published_at
    from {schema}.publication
    where publication.run_id = r.run_id
) as p on true
cross join lateral unnest(
    l.item_ids, l.scores, l.sources, l.because_item_ids, l.because_features
)
with ordinality as u (item_id, score, source, because_item_id, because_features, rank)
where u.rank <= r.n;

drop function {schema}.recommend;

create function {schema}.recommend(for_user {user_id_type}, n integer default null)
returns table (
    user_id {user_id_type},
    rank integer,
    item_id {item_id_type},
    score real,
    source text,
    because_item_id {item_id_type},
    run_id bigint,
    as_of timestamptz,
    model text,
    published_at timestamptz,
    because_features text
)
language plpgsql
stable
security definer
parallel safe
rows 10
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    published record;
    listed record;
begin
    select r.run_id, r.as_of, r.model, r.n, live.since
    into published
    from {schema}.live
    inner join {schema}.run as r on live.run_id = r.run_id;
    if not found then
        return;
    end if;

    select l.item_ids, l.scores, l.sources, l.because_item_ids, l.because_features
    into listed
    from {schema}.top_n_list as l
    where l.user_id = for_user and l.run_id = published.run_id;
    if not found then
        -- Whom the run knows and makes no list for has a history: what is popular may be on it.
        perform from {schema}.unserved_user as w
        where w.run_id = published.run_id and w.user_id = for_user;
        if found then
            return;
        end if;
        select
            p.item_ids,
            p.scores,
            array_fill('popular'::text, array[cardinality(p.item_ids)]) as sources,
            array_fill(null::{item_id_type}, array[cardinality(p.item_ids)]) as because_item_ids,
            null::text[] as because_features
        into listed
        from {schema}.popular_list as p
        where p.run_id = published.run_id and p.segment = 'all';
        if not found then
            return;
        end if;
    end if;

    return query
    select
        for_user,
        (row_number() over (order by u.place))::integer,
        u.item_id,
        u.score,
        u.source,
        u.because_item_id,
        published.run_id,
        published.as_of,
        published.model,
        published.since,
        u.because_features
    from unnest(
        listed.item_ids,
        listed.scores,
        listed.sources,
        listed.because_item_ids,
        listed.because_features
    )
    with ordinality as u (item_id, score, source, because_item_id, because_features, place)
    where not exists (
        select from {schema}.blocked_item as b
        where b.item_id = u.item_id
    )
    order by u.place
    limit greatest(coalesce(recommend.n, published.n), 0);
end
$$;

comment on function {schema}.recommend is
'The best n items for a user from the live run, blocked ones left out: rank from 1, as in '
'recommendations. Without n, as many as the view shows; at most what is stored. A user whom the run '
'has never seen gets the popular items; one that it knows and makes no list for gets none '
'(user_status says why).';

-- Only roles that are named may call it: it reads with the rights of its owner.
revoke execute on function {schema}.recommend from public;
