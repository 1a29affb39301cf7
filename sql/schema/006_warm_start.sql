-- A run says from which run's weights its model started.

alter table {schema}.run add column parent_run_id bigint references {schema}.run (run_id);
alter table {schema}.run add column warm_nights integer not null default 0 check (warm_nights >= 0);

comment on column {schema}.run.parent_run_id is
'The run from whose weights its model was to start, chosen when it was opened; null: from scratch.';
comment on column {schema}.run.warm_nights is
'Nights in a row, this one included, that started from the weights of the one before; 0: trained '
'from scratch, beside a parent as the control.';
