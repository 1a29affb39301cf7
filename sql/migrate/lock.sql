-- Waits for another migration of the same schema to end. Returns one row. Placeholders:
-- schema_literal.
select
    pg_catalog.pg_advisory_xact_lock(
        pg_catalog.hashtextextended('recjobs migrate ' || {schema_literal}, 0)
    );
