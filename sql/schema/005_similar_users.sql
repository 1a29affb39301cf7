-- Users whose vectors are alike, where a job asks for them.

create table {schema}.similar_user_list (
    user_id {user_id_column} not null,
    run_id bigint not null references {schema}.run (run_id),
    similar_user_ids {user_id_type}[] not null,
    scores real[] not null,
    primary key (user_id, run_id)
);

comment on table {schema}.similar_user_list is
'Grain: one row per user and run, none unless score.similar_users asks for them. Key: user_id, '
'run_id. Written by publish; read through similar_users.';
comment on column {schema}.similar_user_list.similar_user_ids is
'Nearest first.';

create index similar_user_list_run on {schema}.similar_user_list (run_id);

create view {schema}.similar_users as
select
    s.user_id,
    shown.rank,
    shown.similar_user_id,
    shown.score,
    r.run_id,
    r.as_of
from {schema}.run as r
inner join {schema}.similar_user_list as s on r.run_id = s.run_id
cross join
    lateral (
        select
            u.similar_user_id,
            u.score,
            u.place::integer as rank
        from unnest(s.similar_user_ids, s.scores) with ordinality as u (similar_user_id, score, place)
    ) as shown
where r.run_id = (select pointer.run_id from {schema}.live as pointer);

comment on view {schema}.similar_users is
'Grain: one row per user and rank, of the live run; empty unless score.similar_users asks for them. '
'Key: user_id, rank.';
comment on column {schema}.similar_users.rank is
'From 1, the most similar user.';
comment on column {schema}.similar_users.similar_user_id is
'A user as the source names them, who is eligible and has a vector.';
comment on column {schema}.similar_users.score is
'The cosine of the two users'' vectors.';
