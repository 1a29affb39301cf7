-- Creates the job's schema, owned by the migrating user. Returns nothing. Placeholders: schema.
-- Caller: recjobs/migrate.py.
create schema {schema};
