-- Creates the job's schema, owned by the migrating user. Returns nothing. Placeholders: schema.
create schema {schema};
