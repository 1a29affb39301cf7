-- The runs of the job and what each found: who ran, what was measured, what was live when.

create table {schema}.run (
    run_id bigint generated always as identity primary key,
    as_of timestamptz not null,
    settings_hash text not null,
    code_version text not null,
    seed integer not null,
    training_threads integer not null,
    overrides jsonb not null default '{}',
    snapshot_digest text,
    supersedes bigint references {schema}.run (run_id),
    request text unique,
    dry_run boolean not null default false,
    status text not null default 'running'
    check (status in ('running', 'failed', 'held', 'dry_run', 'stored')),
    stage text,
    error text,
    model text not null,
    n integer check (n > 0),
    published_source text check (published_source in ('model', 'popular')),
    lists_in text check (lists_in in ('top_n_list', 'top_n_archive', 'dropped')),
    decision text,
    rule text,
    champion_run_id bigint references {schema}.run (run_id),
    reference_run_id bigint references {schema}.run (run_id),
    counts jsonb not null default '{}',
    timings jsonb not null default '{}',
    host text not null,
    artifacts text not null,
    opened_by text not null default session_user,
    started_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint run_key unique nulls not distinct (
        as_of, settings_hash, code_version, seed, training_threads, overrides, supersedes
    )
);

comment on table {schema}.run is
'Grain: one row per run of the job. Key: run_id; the same night of the same settings, code, seed '
'and threads is one run unless a fresh one supersedes it. Written by every stage, read by everyone.';
comment on column {schema}.run.as_of is
'Only interactions before this instant exist for the run.';
comment on column {schema}.run.settings_hash is
'Changes with every setting that can change a list.';
comment on column {schema}.run.code_version is
'Version of recjobs and a digest of its sources.';
comment on column {schema}.run.overrides is
'Settings given by hand, by dotted key. A run with any does not go live by itself.';
comment on column {schema}.run.snapshot_digest is
'SHA-256 over the extracted snapshot; null until it is taken.';
comment on column {schema}.run.supersedes is
'The run of the same key that this one was made to replace with a fresh extract.';
comment on column {schema}.run.request is
'Names the attempt, such as an Airflow DAG run: the same name gives the same run.';
comment on column {schema}.run.status is
'running; failed (error says why); held (by the gate); dry_run (stopped after check); stored (its '
'lists are in the database, live or not).';
comment on column {schema}.run.stage is
'The stage that runs, or the one that ran last.';
comment on column {schema}.run.error is
'Why the stage failed: the class of the error, then its message.';
comment on column {schema}.run.n is
'Length of a list as the views show it; more are stored, as spares for blocked items.';
comment on column {schema}.run.published_source is
'Whose lists the run publishes: model, or popular where nothing better may go live.';
comment on column {schema}.run.lists_in is
'Where the lists are: top_n_list (live, or live before and one step from being so again), '
'top_n_archive, dropped (too old); null: not published.';
comment on column {schema}.run.decision is
'The decision of the gate (promote, hold, undecided), or promoted: a person overruled it.';
comment on column {schema}.run.rule is
'The rule that decided, in words and numbers; the person and the reason where one overruled it.';
comment on column {schema}.run.champion_run_id is
'The run whose evaluated model was the one to beat.';
comment on column {schema}.run.reference_run_id is
'The run whose lists the churn was counted against.';
comment on column {schema}.run.counts is
'Counts by name: extracted, rows, rejected, users, items, lists.';
comment on column {schema}.run.timings is
'Seconds by stage.';
comment on column {schema}.run.host is
'The machine that opened the run.';
comment on column {schema}.run.artifacts is
'Folder or URL of the run''s files, in a folder run-<run_id> of it.';

create index run_as_of on {schema}.run (as_of desc, run_id desc);

create table {schema}.live (
    singleton boolean primary key default true check (singleton),
    run_id bigint not null references {schema}.run (run_id),
    since timestamptz not null,
    pinned boolean not null default false,
    pinned_by text,
    pinned_why text
);

comment on table {schema}.live is
'Grain: one row, or none before the first publish: the pointer to the run that readers see. Written '
'by publish, rollback and promote in one short transaction each.';
comment on column {schema}.live.since is
'When the run went live, this time.';
comment on column {schema}.live.pinned is
'While true, no run goes live until it is unpinned.';

create table {schema}.publication (
    publication_id bigint generated always as identity primary key,
    run_id bigint not null references {schema}.run (run_id),
    kind text not null check (kind in ('publish', 'promote', 'rollback')),
    live_from timestamptz not null,
    live_until timestamptz check (live_until >= live_from),
    rolled_back boolean not null default false,
    decided_by text not null,
    why text not null
);

comment on table {schema}.publication is
'Grain: one row per time that a run was live. Key: publication_id. Written with every move of the '
'pointer, never changed afterwards except to be closed.';
comment on column {schema}.publication.kind is
'How it went live: publish (by itself), promote (by name), rollback (the one after it was taken back).';
comment on column {schema}.publication.live_from is
'From when readers saw the run.';
comment on column {schema}.publication.live_until is
'Until when, exclusive; null for the one that is live.';
comment on column {schema}.publication.rolled_back is
'Whether a rollback ended it: such a run does not come back by itself.';
comment on column {schema}.publication.decided_by is
'Who or what moved the pointer.';
comment on column {schema}.publication.why is
'The reason given.';

create unique index publication_open on {schema}.publication ((true)) where live_until is null;
create index publication_run on {schema}.publication (run_id);

create table {schema}.lease (
    singleton boolean primary key default true check (singleton),
    run_id bigint not null references {schema}.run (run_id),
    holder text not null,
    at_work boolean not null,
    acquired_at timestamptz not null,
    renewed_at timestamptz not null,
    expires_at timestamptz not null
);

comment on table {schema}.lease is
'Grain: one row, or none while no run is at work: who holds the job. Written by the stages.';
comment on column {schema}.lease.holder is
'The process that holds it, host:pid.';
comment on column {schema}.lease.at_work is
'True while a stage runs and renews the lease; false between two stages of the run.';
comment on column {schema}.lease.expires_at is
'From then on, by the clock of the database, any run may take it.';

create table {schema}.metric (
    run_id bigint not null references {schema}.run (run_id),
    model text not null,
    segment text not null,
    metric text not null,
    value double precision,
    low double precision,
    high double precision,
    users bigint,
    primary key (run_id, model, segment, metric)
);

comment on table {schema}.metric is
'Grain: one row per run, model, segment of users and metric, all on the held-out part that the '
'evaluated model never saw. Written by evaluate.';
comment on column {schema}.metric.model is
'The run''s own model, a baseline, or champion.';
comment on column {schema}.metric.segment is
'all, or new, light and heavy users by the length of their history.';
comment on column {schema}.metric.metric is
'ndcg@10, recall@20, hit_rate@10, mrr, coverage, gini and their like; rmse and mae for ratings.';
comment on column {schema}.metric.value is
'The mean over the users of the segment; null where it is not defined.';
comment on column {schema}.metric.low is
'Lower end of the bootstrap interval; null where there is none.';
comment on column {schema}.metric.high is
'Upper end of the bootstrap interval; null where there is none.';
comment on column {schema}.metric.users is
'How many users it was measured on.';

create table {schema}.check_result (
    run_id bigint not null references {schema}.run (run_id),
    stage text not null,
    name text not null,
    level text not null check (level in ('warn', 'stop')),
    passed boolean not null,
    observed double precision,
    expected double precision,
    message text not null,
    checked_at timestamptz not null default now(),
    primary key (run_id, stage, name)
);

comment on table {schema}.check_result is
'Grain: one row per run and expectation. Written by validate and check.';
comment on column {schema}.check_result.name is
'The key of the expectation in the settings.';
comment on column {schema}.check_result.level is
'What a failure does: warn, or stop the night.';
comment on column {schema}.check_result.observed is
'What was measured.';
comment on column {schema}.check_result.expected is
'The limit it was held against.';
comment on column {schema}.check_result.message is
'What was found and how to mend it.';

create table {schema}.rejected_row (
    rejected_row_id bigint generated always as identity primary key,
    run_id bigint not null references {schema}.run (run_id),
    reason text not null,
    user_id text,
    item_id text,
    ts text,
    rating text,
    event text
);

comment on table {schema}.rejected_row is
'Grain: one row per source row that validate set aside, at most 1,000 per run and reason; all of '
'them are in rejected.parquet of the run. Values as text, for some are no values at all.';
comment on column {schema}.rejected_row.reason is
'The expectation that the row did not meet.';

create index rejected_row_run on {schema}.rejected_row (run_id, reason);

create table {schema}.erasure (
    id_hash bytea primary key,
    side text not null check (side in ('user', 'item')),
    erased_at timestamptz not null default now(),
    erased_by text not null default session_user,
    removed jsonb not null
);

comment on table {schema}.erasure is
'Grain: one row per erased id, as its keyed hash: the receipt.';
comment on column {schema}.erasure.id_hash is
'HMAC-SHA-256 of the id under the key of the job, which is not in the database.';
comment on column {schema}.erasure.removed is
'How many rows were removed, by relation and artifact.';
