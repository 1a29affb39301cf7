-- The shards of a stage share the job's lease: a row for each of them.

alter table {schema}.lease
drop column singleton,
add column part text not null default '',
add primary key (part);

comment on table {schema}.lease is
'Grain: one row, or none while no run is at work: who holds the job; while shards of a stage are at '
'work, one row per shard, all of the same run. Key: part. Written by the stages.';
comment on column {schema}.lease.part is
'The part of the run''s work: a stage and the shard (score 2/4); empty for all of it.';
