-- A run says whether it reads the source anew, and whether its files are still there.

alter table {schema}.run add column fresh boolean not null default false;
alter table {schema}.run add column files_removed_at timestamptz;

comment on column {schema}.run.fresh is
'Reads the source in full, whatever earlier nights have kept of it.';
comment on column {schema}.run.files_removed_at is
'When its artifacts were removed to make room; null while they are kept.';
