-- Creates the job's schema, owned by the writer. Returns nothing. Placeholders: schema, writer.
create schema {schema} authorization {writer};
