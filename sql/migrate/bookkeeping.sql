-- Creates the table of applied migrations. Returns nothing. Placeholders: schema.
create table {schema}.migration (
    number integer primary key,
    name text not null,
    checksum text not null,
    user_id_type text not null,
    item_id_type text not null,
    applied_at timestamptz not null default now(),
    applied_by text not null default session_user
);

comment on table {schema}.migration is
'Grain: one row per applied file of sql/schema. Key: number. Written by recjobs migrate.';
comment on column {schema}.migration.checksum is
'SHA-256 of the file: a file that was applied is never changed, the next one is added.';
comment on column {schema}.migration.user_id_type is
'The SQL type of user ids, fixed for the life of the schema.';
comment on column {schema}.migration.item_id_type is
'The SQL type of item ids, fixed for the life of the schema.';
