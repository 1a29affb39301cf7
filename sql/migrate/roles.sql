-- Creates the job's roles where they are missing, and makes the migrating user a member of the
-- writer, who will own what is made. Returns nothing. Placeholders: writer, reader, and the two as
-- literals.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = {writer_literal}) then
        create role {writer} nologin;
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = {reader_literal}) then
        create role {reader} nologin;
    end if;
    if not pg_catalog.pg_has_role({writer_literal}, 'usage') then
        grant {writer} to current_user;
    end if;
end
$$;
