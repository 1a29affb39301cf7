-- Returns the oid of a table or view as the search path finds it, null where there is none.
-- Parameters: name, quoted as in SQL.
select to_regclass(%(name)s)::oid as relation
