-- A run says whose it is, and why it is not live. `recommend` gives nothing to those whom the run
-- knows and makes no list for.

alter table {schema}.run add column job text;
alter table {schema}.run add column why_not_live text;

comment on column {schema}.run.job is
'The job whose run it is. A schema holds the runs of one job.';
comment on column {schema}.run.why_not_live is
'Why a stored run did not go live by itself when it was published; null where it did.';
comment on column {schema}.metric.segment is
'all; new, light and heavy users by the length of their history; known: all but the new ones, whom '
'the gate decides on.';

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
'has never seen gets the popular items; one that it knows and makes no list for gets none '
'(user_status says why).';
