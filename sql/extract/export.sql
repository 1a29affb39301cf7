-- Returns what names this transaction's snapshot, so that another may see the same rows.
-- Parameters: none.
select pg_export_snapshot() as snapshot
