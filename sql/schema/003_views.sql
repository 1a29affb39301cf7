-- What applications and analysts read.
-- noqa: disable=LT02, which would put a line break before every `lateral (`

create view {schema}.recommendations as
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
    (select pointer.since from {schema}.live as pointer) as published_at
from {schema}.run as r
inner join {schema}.top_n_list as l on r.run_id = l.run_id
cross join lateral (
    select
        u.item_id,
        u.score,
        u.source,
        u.because_item_id,
        (row_number() over (order by u.place))::integer as rank
    from unnest(l.item_ids, l.scores, l.sources, l.because_item_ids)
    with ordinality as u (item_id, score, source, because_item_id, place)
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

comment on view {schema}.recommendations is
'Grain: one row per user and rank, of the live run. Key: user_id, rank. Exactly n rows per user, or '
'all there are; blocked items are left out and spares move up.';
comment on column {schema}.recommendations.rank is
'From 1, without gaps.';
comment on column {schema}.recommendations.score is
'Comparable within one user''s list only.';
comment on column {schema}.recommendations.source is
'The model that recommends the item, or popular for a fallback.';
comment on column {schema}.recommendations.because_item_id is
'The item of the user''s history that weighed most; null for a fallback.';
comment on column {schema}.recommendations.published_at is
'When the run went live.';

create view {schema}.recommendations_history as
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
    p.published_at
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
cross join lateral unnest(l.item_ids, l.scores, l.sources, l.because_item_ids)
with ordinality as u (item_id, score, source, because_item_id, rank)
where u.rank <= r.n;

comment on view {schema}.recommendations_history is
'Grain: one row per user, run and rank, over all runs that are kept, live or not. Key: user_id, '
'run_id, rank. As the run made them: items blocked since then are still here.';
comment on column {schema}.recommendations_history.published_at is
'When the run first went live; null if it never did.';

create view {schema}.similar_items as
select
    s.item_id,
    shown.rank,
    shown.similar_item_id,
    shown.score,
    r.run_id,
    r.as_of
from {schema}.run as r
inner join {schema}.similar_list as s on r.run_id = s.run_id
cross join lateral (
    select
        u.similar_item_id,
        u.score,
        (row_number() over (order by u.place))::integer as rank
    from unnest(s.similar_item_ids, s.scores) with ordinality as u (similar_item_id, score, place)
    where not exists (
        select from {schema}.blocked_item as b
        where b.item_id = u.similar_item_id
    )
) as shown
where r.run_id = (select pointer.run_id from {schema}.live as pointer);

comment on view {schema}.similar_items is
'Grain: one row per item and rank, of the live run. Key: item_id, rank. Blocked items are left out.';
comment on column {schema}.similar_items.rank is
'From 1, the most similar item.';

create view {schema}.popular_items as
select
    p.segment,
    shown.rank,
    shown.item_id,
    shown.score,
    r.run_id,
    r.as_of
from {schema}.run as r
inner join {schema}.popular_list as p on r.run_id = p.run_id
cross join lateral (
    select
        u.item_id,
        u.score,
        (row_number() over (order by u.place))::integer as rank
    from unnest(p.item_ids, p.scores) with ordinality as u (item_id, score, place)
    where not exists (
        select from {schema}.blocked_item as b
        where b.item_id = u.item_id
    )
    order by u.place
    limit r.n
) as shown
where r.run_id = (select pointer.run_id from {schema}.live as pointer);

comment on view {schema}.popular_items is
'Grain: one row per segment of users and rank, of the live run. Key: segment, rank. Blocked items are '
'left out.';
comment on column {schema}.popular_items.segment is
'all: every user.';

create view {schema}.user_status as
select
    l.user_id,
    case
        when shown.listed >= r.n then 'served'
        when shown.listed > 0 then 'short'
        else 'empty'
    end as status,
    least(shown.listed, r.n)::integer as listed,
    l.sources[1] as source,
    case
        when shown.listed < r.n
            then coalesce(l.reason, 'items of the list are blocked, and its spares are used up')
    end as reason,
    r.run_id,
    r.as_of
from {schema}.run as r
inner join {schema}.top_n_list as l on r.run_id = l.run_id
cross join lateral (
    select count(*) as listed
    from unnest(l.item_ids) as u (item_id)
    where not exists (
        select from {schema}.blocked_item as b
        where b.item_id = u.item_id
    )
) as shown
where r.run_id = (select pointer.run_id from {schema}.live as pointer)
union all
select
    u.user_id,
    'not eligible' as status,
    0 as listed,
    null as source,
    u.reason,
    r.run_id,
    r.as_of
from {schema}.run as r
inner join {schema}.unserved_user as u on r.run_id = u.run_id
where r.run_id = (select pointer.run_id from {schema}.live as pointer);

comment on view {schema}.user_status is
'Grain: one row per user that the live run knows. Key: user_id. Served, or why not.';
comment on column {schema}.user_status.status is
'served: n items; short: fewer; empty: a list without items; not eligible: no list.';
comment on column {schema}.user_status.listed is
'How many items the user''s list shows now.';
comment on column {schema}.user_status.source is
'Where the first item of the list comes from.';
comment on column {schema}.user_status.reason is
'Why there are fewer than n; null for a served user.';

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
    published_at timestamptz
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

    select l.item_ids, l.scores, l.sources, l.because_item_ids
    into listed
    from {schema}.top_n_list as l
    where l.user_id = for_user and l.run_id = published.run_id;
    if not found then
        select
            p.item_ids,
            p.scores,
            array_fill('popular'::text, array[cardinality(p.item_ids)]) as sources,
            array_fill(null::{item_id_type}, array[cardinality(p.item_ids)]) as because_item_ids
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
        published.since
    from unnest(listed.item_ids, listed.scores, listed.sources, listed.because_item_ids)
    with ordinality as u (item_id, score, source, because_item_id, place)
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
'has never seen gets the popular items.';

-- Only roles that are named may call it: it reads with the rights of its owner.
revoke execute on function {schema}.recommend from public;
