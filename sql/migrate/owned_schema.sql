-- Creates the job's schema, owned by the writer. Returns nothing. Placeholders: schema, writer.
-- Caller: recjobs/migrate.py.
create schema {schema} authorization {writer};
