-- The moment that this transaction sees, for another one to see too; then its own number.
select pg_export_snapshot() as snapshot, pg_current_xact_id()::text as xid
