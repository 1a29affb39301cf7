-- Returns which lists a table is for; null where it does not say, or is not there. Parameters:
-- table, quoted.
select obj_description(to_regclass(%(table)s), 'pg_class') as digest
