-- recommend() takes a text id from a column of any collation: lists are looked up by bytes.

create or replace function {schema}.recommend(for_user {user_id_type}, n integer default null)
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
    where l.user_id = for_user{user_id_collate} and l.run_id = published.run_id;
    if not found then
        -- Whom the run knows and makes no list for has a history: what is popular may be on it.
        perform from {schema}.unserved_user as w
        where w.run_id = published.run_id and w.user_id = for_user{user_id_collate};
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
