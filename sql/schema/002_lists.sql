-- The lists, as they are stored: arrays, one row per user and run; and what goes with them.

create table {schema}.top_n_list (
    user_id {user_id_column} not null,
    run_id bigint not null,
    item_ids {item_id_type}[] not null,
    scores real[] not null,
    sources text[] not null,
    because_item_ids {item_id_type}[] not null,
    reason text,
    constraint top_n_list_key primary key (user_id, run_id)
) partition by list (run_id);

comment on table {schema}.top_n_list is
'Grain: one row per user and run. Key: user_id, run_id. One partition per run, of runs that are live '
'or were and can be again at once. Written by publish; read through the views.';
comment on column {schema}.top_n_list.item_ids is
'Best first: the n items of the list, then spares that take the place of blocked ones.';
comment on column {schema}.top_n_list.scores is
'The score of each item; comparable within one list only.';
comment on column {schema}.top_n_list.sources is
'Where each item comes from: the name of the model, or popular for a fallback.';
comment on column {schema}.top_n_list.because_item_ids is
'For each item, the item of the user''s history that weighed most; null for a fallback.';
comment on column {schema}.top_n_list.reason is
'Why the list has fewer than n items; null where it has n.';

create table {schema}.top_n_archive (
    user_id {user_id_column} not null,
    run_id bigint not null,
    item_ids {item_id_type}[] not null,
    scores real[] not null,
    sources text[] not null,
    because_item_ids {item_id_type}[] not null,
    reason text,
    constraint top_n_archive_key primary key (user_id, run_id)
) partition by list (run_id);

comment on table {schema}.top_n_archive is
'Grain: one row per user and run, as in top_n_list, one partition per run: backfills, runs that '
'never went live, and older ones. Key: user_id, run_id. Written by publish and retention.';

create table {schema}.similar_list (
    item_id {item_id_column} not null,
    run_id bigint not null references {schema}.run (run_id),
    similar_item_ids {item_id_type}[] not null,
    scores real[] not null,
    primary key (item_id, run_id)
);

comment on table {schema}.similar_list is
'Grain: one row per item and run. Key: item_id, run_id. Written by publish; read through '
'similar_items.';
comment on column {schema}.similar_list.similar_item_ids is
'Nearest first.';

create index similar_list_run on {schema}.similar_list (run_id);

create table {schema}.popular_list (
    run_id bigint not null references {schema}.run (run_id),
    segment text not null,
    item_ids {item_id_type}[] not null,
    scores real[] not null,
    primary key (run_id, segment)
);

comment on table {schema}.popular_list is
'Grain: one row per run and segment of users. Key: run_id, segment. Written by publish; read through '
'popular_items, and by recommend() for a user that the run has never seen.';
comment on column {schema}.popular_list.item_ids is
'Most popular first, with spares for blocked items.';

create table {schema}.unserved_user (
    user_id {user_id_column} not null,
    run_id bigint not null references {schema}.run (run_id),
    reason text not null,
    primary key (user_id, run_id)
);

comment on table {schema}.unserved_user is
'Grain: one row per run and user that it knows and makes no list for. Key: user_id, run_id. Written '
'by publish; read through user_status.';
comment on column {schema}.unserved_user.reason is
'Why the user is not eligible.';

create index unserved_user_run on {schema}.unserved_user (run_id);

create table {schema}.item (
    item_id {item_id_column} primary key,
    title text,
    available boolean not null,
    as_of timestamptz not null,
    run_id bigint not null references {schema}.run (run_id)
);

comment on table {schema}.item is
'Grain: one row per item. Key: item_id. As the newest run by as_of found it in the source: a '
'backfill adds items and changes none. Written by publish.';
comment on column {schema}.item.available is
'Whether the item could be recommended, at as_of.';
comment on column {schema}.item.as_of is
'The as_of of the run that described the item last.';
comment on column {schema}.item.run_id is
'The run that described the item last.';

create table {schema}.blocked_item (
    item_id {item_id_column} primary key,
    why text,
    blocked_by text not null default session_user,
    blocked_at timestamptz not null default now()
);

comment on table {schema}.blocked_item is
'Grain: one row per item that no reader shall see, from the moment the row is there. Key: item_id. '
'Written by people and applications; delete the row to show the item again.';
comment on column {schema}.blocked_item.why is
'For whoever wonders later.';

-- Of a table that nobody has counted the planner expects hundreds of rows. These stay small, and
-- plans that know it read a list in half the time; once they grow, autovacuum counts them anew.
analyze {schema}.blocked_item;
analyze {schema}.live;
